"""The job that looks at images, labels and checkpoints before anything is built; it needs no torch."""
