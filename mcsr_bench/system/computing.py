"""How trainings compute, as asked for and as a device can."""

from __future__ import annotations

from typing import Final

from pydantic import BaseModel, ConfigDict

from mcsr_bench.errors import UserError
from mcsr_bench.system.devices import gpu_count
from mcsr_bench.system.precision import chosen_precision

RESIDENT: Final = ("auto", "yes", "no")
"""What ``--resident`` allows."""


class Computing(BaseModel):
    """The options of ``run`` for this. Results are equal but for rounding, except with precision "bf16"."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    precision: str | None = None
    """``--precision``; None: as the device has it (`mcsr_bench.system.precision`)."""
    resident: str = "auto"
    """``--resident``: whether the device holds all training slices; "auto": a GPU, if they take at most half of what is free."""
    compile: bool = False
    """``--compile``: networks are compiled for training."""
    devices: int = 1
    """``--devices``: the GPUs of this machine (on a CPU, processes) that share each training batch."""

    def on(self, device: str) -> Computing:
        """The same with a precision, for "cpu" or "cuda". UserError for what there is not, or not on this machine."""
        if self.resident not in RESIDENT:
            raise UserError(f"--resident {self.resident}: allowed are {', '.join(RESIDENT)}")
        if self.devices < 1:
            raise UserError(f"--devices {self.devices}: a number of devices is 1 or larger")
        if device.startswith("cuda") and self.devices > gpu_count():
            raise UserError(f"--devices {self.devices}: torch sees {gpu_count()} CUDA device(s) on this machine")
        return self.model_copy(update={"precision": chosen_precision(self.precision, device)})


AS_THE_DEVICE_HAS_IT: Final = Computing()
"""Where nothing is asked for."""
PLAIN: Final = Computing(precision="32")
"""One device, float32, nothing compiled."""
