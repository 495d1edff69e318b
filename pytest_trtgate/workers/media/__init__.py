"""Jobs that make pictures and videos."""
