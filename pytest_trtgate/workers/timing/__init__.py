"""Jobs that time engines."""
