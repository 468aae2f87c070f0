"""The page for operators and carers: encounters as they come, people, devices, erasures."""
