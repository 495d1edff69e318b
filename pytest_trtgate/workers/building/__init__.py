"""The job that builds an engine: export, INT8 calibration, TensorRT's builder, and what it really built."""
