"""McMRSR (Li et al., CVPR 2022): transformer features, contextual matching in the auxiliary, k-space data consistency."""

from __future__ import annotations

from typing import Annotated, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from mcsr_bench import kspace
from mcsr_bench.plugin.batch import Batch, Prediction
from mcsr_bench.plugin.method import TorchMethod, TrainingSettings

from .network import McMRSRNetwork
from .phase import enlarged, slow_phase


class McMRSRSettings(TrainingSettings):
    """The network, what it is given, and its loss."""

    data: Literal["complex", "magnitude"]
    """Real and imaginary parts; or magnitudes, for data without phase (then without data consistency)."""
    phase: Literal["kept", "demodulated"]
    """Complex data as they are; or without the slow phase of their LR images, which is put back on the output."""
    shifted_input: bool
    """The first convolutions add constants to their input, for imported weights of a network that does."""
    width: Annotated[int, Field(ge=1)]
    """Feature channels, a multiple of heads."""
    groups: Annotated[int, Field(ge=1)]
    """Residual groups of the transformer."""
    depth: Annotated[int, Field(ge=1)]
    """Blocks per group."""
    heads: Annotated[int, Field(ge=1)]
    """Attention heads."""
    drop_path: Annotated[float, Field(ge=0, lt=1)]
    """How often the last block is left out for a training sample; earlier ones less, linearly."""
    blocks: tuple[int, int, int]
    """Residual blocks after merging at 1, 2 and 4 times the LR size."""
    init: Literal["normal", "zero"]
    """Weights all from N(0, 0.02), or torch's defaults with the style corrections at zero."""
    consistency: bool
    """Put the measured LR k-space into the prediction's (complex data alone)."""
    kspace_weight: Annotated[float, Field(ge=0)]
    """Of the squared k-space error after data consistency in the loss; whole slices alone have a k-space (patch = 0)."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is not a multiple of heads {self.heads}")
        if self.kspace_weight and (self.patch or self.data == "magnitude"):
            raise ValueError("kspace_weight > 0 needs whole slices (patch = 0) of complex data")
        return self


class McMRSR(TorchMethod):
    """Complex in, complex out (or magnitudes); the prediction is the network's output made consistent with the LR data."""

    Settings = McMRSRSettings
    network: McMRSRNetwork

    @property
    def track(self) -> Literal["complex", "magnitude"]:
        """What its setting ``data`` says."""
        return "complex" if self.settings.data == "complex" else "magnitude"

    def build_network(self) -> McMRSRNetwork:
        """The network of the settings."""
        s = self.settings
        return McMRSRNetwork(
            self.scale,  # type: ignore[arg-type]
            channels=2 if s.data == "complex" else 1,
            shifted_input=s.shifted_input,
            width=s.width,
            groups=s.groups,
            depth=s.depth,
            heads=s.heads,
            drop_path=s.drop_path,
            blocks=s.blocks,
            init=s.init,
        )

    def notes(self) -> list[str]:
        """What it is given, and whether data consistency is on."""
        if self.settings.data == "magnitude":
            return ["magnitude variant: no phase, no data consistency."]
        return [] if self.settings.consistency else ["without data consistency."]

    def forward(self, batch: Batch) -> Tensor:
        """The network's own output, before data consistency: normalised, complex (B, H, W), or magnitudes."""
        if self.settings.data == "magnitude":
            images = (batch.target_lr_magnitude, batch.auxiliary_lr_magnitude, batch.auxiliary_magnitude)
            return self.network(*(image[:, None] for image in images))[:, 0]
        target_lr, auxiliary_lr, auxiliary = (
            batch.target_lr_complex,
            batch.auxiliary_lr_complex,
            batch.auxiliary_complex,
        )
        if self.settings.phase == "kept":
            return _complex(self.network(_channels(target_lr), _channels(auxiliary_lr), _channels(auxiliary)))
        own, other = slow_phase(target_lr), slow_phase(auxiliary_lr)
        images = (target_lr * own.conj(), auxiliary_lr * other.conj(), auxiliary * enlarged(other, self.scale).conj())
        return _complex(self.network(*map(_channels, images))) * enlarged(own, self.scale)

    def loss(self, output: Tensor, batch: Batch) -> Tensor:
        """l(output, target) before data consistency + kspace_weight * squared error of the (unnormalised) k-space after it."""
        s = self.settings
        if s.data == "magnitude":
            return self.pixel_loss(output, batch.target_magnitude)
        target = batch.target_complex
        loss = self.pixel_loss(_channels(output), _channels(target))
        if s.kspace_weight:
            H, W = target.shape[-2:]
            difference = kspace.to_kspace(data_consistent(output, batch) - target)
            loss = loss + s.kspace_weight * H * W * _channels(difference).square().mean()
        return loss

    def prediction(self, output: Tensor, batch: Batch) -> Prediction:
        """In physical units: complex and consistent with the LR data, or a magnitude."""
        if self.settings.data == "magnitude":
            return batch.denormalize_target(output)
        return batch.denormalize_complex(data_consistent(output, batch) if self.settings.consistency else output)


def data_consistent(image: Tensor, batch: Batch) -> Tensor:
    """The image (B, H, W), normalised and complex, with the centre of its k-space replaced by that of the LR data."""
    low = batch.target_lr_complex
    shape = (low.shape[-2], low.shape[-1])
    measured = kspace.to_kspace(low)
    if batch.protocol.keep_amplitude:
        measured = measured / kspace.amplitude_factor(batch.hr_shape, shape)
    spectrum = kspace.to_kspace(image)
    known = kspace.pad_centre(torch.ones(shape, device=image.device), batch.hr_shape).bool()
    return kspace.to_image(torch.where(known, kspace.pad_centre(measured, batch.hr_shape), spectrum))


def _channels(image: Tensor) -> Tensor:
    """Complex (B, H, W) to (B, 2, H, W), real and imaginary part."""
    return torch.view_as_real(image).permute(0, 3, 1, 2)


def _complex(channels: Tensor) -> Tensor:
    """The inverse of `_channels`; of half precision, too, of which there are no complex numbers."""
    real, imaginary = channels.to(torch.promote_types(channels.dtype, torch.float32)).unbind(1)
    return torch.complex(real, imaginary)
