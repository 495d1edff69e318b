"""Jobs that build engines."""
