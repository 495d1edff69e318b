"""The job that looks at data and checkpoints before anything is built."""
