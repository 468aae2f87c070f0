"""Built models, and the programs that build them from pinned registry packages."""
