"""A protocol, that is a named and hashed way to degrade, normalise, split and test.

The hash goes with every row of every result. It covers the fields below and the revisions of what they ask for; the title is
prose and stays out. Metrics stay out, too: each has a revision of its own (`mcsr_bench.metrics`), so that a new one orphans no
result. How batches are drawn is training, not protocol: its revision is `mcsr_bench.data.sampler.REVISION`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from mcsr_bench.errors import UserError, unknown_name
from mcsr_bench.system.files import digest

if TYPE_CHECKING:  # torch is imported when something is computed: listing protocols must not wait for it
    from torch import Tensor

REVISIONS = {"degradation": 1, "normalisation": 1, "split": 1, "test": 1}
"""Raise one when equal fields give other values: the LR images, the crop and the slices left out; the statistics, the normalised
images and the reference that is scored; who trains, validates and tests; the unit of the test. The golden values in
``tests/golden/values.py`` belong to these numbers."""


class Protocol(BaseModel):
    """A protocol; the fields' values are its definition."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    title: str
    """A sentence for people; not hashed, so that it can be improved."""
    scales: tuple[int, ...] = (2, 3, 4, 8)
    size_multiple: int = 8
    """HR is centre-cropped to a multiple of this many LR pixels: size_multiple * scale."""
    keep_amplitude: bool
    """True: an LR constant equals the HR constant. False: the orthonormal crop as published, s times brighter."""
    auxiliary_statistics: Literal["own", "lr"]
    """Mean and standard deviation of the auxiliary: of the HR auxiliary itself, or of its LR version."""
    std_epsilon: float
    """Added to the standard deviation before dividing (units of the image)."""
    clamp: float | None
    """Normalised inputs and reference are clamped to +- this value; None: never."""
    cut_negative: bool
    """True: what a method predicts as a magnitude is cut at 0 before it is scored. False: values below 0 are scored as they are."""
    split: Literal["test-untouched", "validation-is-test"]
    empty_level: float = 0.05
    empty_fraction: float = 0.01
    """A slice is empty, and left out, when less than empty_fraction of its pixels exceed empty_level times its volume's maximum."""
    test_unit: Literal["patient", "slice"]
    revisions: dict[str, int] = REVISIONS
    """Of degradation, normalisation, split and the unit of the test, by name."""

    @property
    def hash(self) -> str:
        """Twelve hexadecimal digits over everything above but the title."""
        # Cutting became a field when it was no longer the rule everywhere; where it still is, results keep their hash.
        unhashed = {"title", "cut_negative"} if self.cut_negative else {"title"}
        return digest(self.model_dump(mode="json", exclude=unhashed), 12)

    def check_scale(self, scale: int) -> None:
        """UserError unless the scale is one this protocol defines."""
        if scale not in self.scales:
            allowed = ", ".join(map(str, self.scales))
            raise UserError(f"--scale {scale}: protocol {self.id} allows the scales {allowed}")

    def hr_shape(self, shape: tuple[int, int], scale: int) -> tuple[int, int]:
        """The (H, W) that a raw image is centre-cropped to. UserError when nothing is left."""
        self.check_scale(scale)
        m = self.size_multiple * scale
        cropped = (shape[0] // m * m, shape[1] // m * m)
        if 0 in cropped:
            raise UserError(
                f"an image of {shape[0]} x {shape[1]} is too small for scale {scale}: at least {m} x {m} is needed"
            )
        return cropped

    def degrade(self, image: Tensor, scale: int) -> Tensor:
        """HR image (..., H, W), to the LR image (..., H/s, W/s), both complex. ValueError when H or W is not a multiple of s."""
        from mcsr_bench import kspace

        H, W = image.shape[-2:]
        if H % scale or W % scale:
            raise ValueError(f"{(H, W)} is not a multiple of the scale {scale}")
        return kspace.truncate(image, (H // scale, W // scale), keep_amplitude=self.keep_amplitude)

    def lr_gain(self, scale: int) -> float:
        """How many times brighter LR is than HR: 1, or s where the amplitude is not kept."""
        return 1.0 if self.keep_amplitude else float(scale)

    def statistics(self, magnitude: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and (unbiased) standard deviation per slice of magnitudes (B, h, w): two tensors (B,).

        A constant slice has standard deviation 1, so that it normalises to zero rather than to NaN.
        """
        import torch

        mean = magnitude.mean(dim=(-2, -1))
        std = magnitude.std(dim=(-2, -1)) + self.std_epsilon
        return mean, torch.where(std > 0, std, torch.ones_like(std))

    def auxiliary_source(self, *, joint: bool) -> Literal["auxiliary", "auxiliary_lr"]:
        """The image whose statistics normalise the auxiliary; joint: both contrasts are super-resolved."""
        return "auxiliary_lr" if joint or self.auxiliary_statistics == "lr" else "auxiliary"

    def normalize(self, magnitude: Tensor, mean: Tensor, std: Tensor) -> Tensor:
        """(magnitude - mean) / std per slice, clamped where the protocol does; (B, H, W) with statistics (B,)."""
        out = (magnitude - mean[:, None, None]) / std[:, None, None]
        return out if self.clamp is None else out.clamp(-self.clamp, self.clamp)

    def scored_magnitude(self, predicted: Tensor) -> Tensor:
        """A predicted magnitude, real and of any shape, as it is scored: cut at 0 where the protocol does that."""
        return predicted.clamp_min(0) if self.cut_negative else predicted

    def scoring_reference(
        self, target: NDArray[np.complex64], target_lr: NDArray[np.complex64]
    ) -> NDArray[np.complexfloating]:
        """What a volume is scored against: target (S, H, W) with target_lr (S, h, w), both complex.

        The target itself, except where the protocol clamps the normalised reference too (`sanet-2021`): then its magnitude is
        brought back from the clamped values, the phase kept.
        """
        if self.clamp is None:
            return target
        import torch

        mean, std = self.statistics(torch.from_numpy(np.abs(target_lr).astype(np.float64)))
        magnitude = np.abs(target).astype(np.float64)
        clamped = self.normalize(torch.from_numpy(magnitude), mean, std) * std[:, None, None] + mean[:, None, None]
        phase = np.exp(1j * np.angle(target))
        return np.asarray(clamped.numpy() * phase)


MCSR_1 = Protocol(
    id="mcsr-1",
    title="amplitude kept, centred crop, per-patient tests, test data never used to choose anything",
    keep_amplitude=True,
    auxiliary_statistics="own",
    std_epsilon=0.0,
    clamp=None,
    cut_negative=True,
    split="test-untouched",
    test_unit="patient",
)

SANET_2021 = Protocol(
    id="sanet-2021",
    title="what the published SANet/MINet code does: orthonormal crop without rescaling, LR statistics for HR, clamp to 6, "
    "predictions below zero scored as they are, the published validation list as test; slice-level tests, which are invalid",
    keep_amplitude=False,
    auxiliary_statistics="lr",
    std_epsilon=1e-11,
    clamp=6.0,
    cut_negative=False,
    split="validation-is-test",
    empty_level=0.0,
    empty_fraction=1e-9,  # the published code leaves nothing out; nothing can be normalised in a slice of zeros
    test_unit="slice",
)

PROTOCOLS = {p.id: p for p in (MCSR_1, SANET_2021)}


def get_protocol(name: str) -> Protocol:
    """The protocol of that id; UserError with the nearest id if there is none."""
    if name not in PROTOCOLS:
        raise unknown_name("protocol", name, PROTOCOLS)
    return PROTOCOLS[name]
