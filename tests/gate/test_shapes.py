"""The gate on the demo model: three real engines of a real detector. Settings: ``[tool.trtgate]`` in pyproject.toml."""


def test_accuracy(trtgate):
    trtgate.check_accuracy()


def test_latency(trtgate):
    trtgate.check_latency()
