"""The commands: arguments in, words out. What they do is done by the modules below."""
