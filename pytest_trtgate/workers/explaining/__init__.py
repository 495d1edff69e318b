"""The job that compares an engine with its FP32 graph, layer by layer."""
