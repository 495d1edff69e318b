"""The child's side of a job: the only place that imports torch, Ultralytics, ONNX Runtime or TensorRT."""
