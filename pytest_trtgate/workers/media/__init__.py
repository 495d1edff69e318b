"""The jobs that make pictures and videos for the report."""
