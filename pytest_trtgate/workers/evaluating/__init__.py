"""The job that evaluates accuracy."""
