"""Pure functions and values: no I/O, no clock, no threads, no logging, no configuration."""
