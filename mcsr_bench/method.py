"""A door to `mcsr_bench.plugin.method`, kept for one release: what authors import besides the public names."""

from mcsr_bench.plugin.method import Method, TorchMethod, TrainingData, TrainingSettings, make_optimizer

__all__ = ["Method", "TorchMethod", "TrainingData", "TrainingSettings", "make_optimizer"]
