"""The child's side of a job: the only package that imports torch, Ultralytics, ONNX Runtime or TensorRT."""
