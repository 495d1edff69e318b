"""The job that evaluates the accuracy of all arms in one pass over the images."""
