"""Floor 1: what a method plugin is, and the batch of slices that it sees.

A method plugin subclasses `TorchMethod` (or `Method`, when nothing is trained) in ``methods/NAME/__init__.py``, beside a card
(``card.toml``) whose presets give every setting a value.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal, Protocol, Self

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from mcsr_bench import kspace
from mcsr_bench.cards import MethodCard
from mcsr_bench.protocol import Protocol as BenchProtocol

Statistics = tuple[Tensor, Tensor]
"""Mean and standard deviation per slice, two tensors (B,), in physical units."""

Prediction = Tensor | dict[str, Tensor]
"""(B, H, W), magnitude or complex, in physical units; or {"target": ..., "auxiliary": ...} where both are scored."""


@dataclass(frozen=True)
class Batch:
    """Slices as a method sees them; images are complex64 and in physical units, statistics are those of whole slices.

    Methods take what they need: complex images, or the normalised magnitudes below, which follow the protocol (the target pair by
    the statistics of its LR image, so that nothing of the target is used).
    """

    target_lr: Tensor
    """(B, h, w)."""
    aux: Tensor
    """(B, H, W), the auxiliary contrast at full resolution."""
    aux_lr: Tensor
    """(B, h, w), the auxiliary degraded like the target."""
    scale: int
    protocol: BenchProtocol
    target_statistics: Statistics
    aux_statistics: Statistics
    target: Tensor | None = None
    """(B, H, W); None when predicting."""
    patient_id: tuple[str, ...] = ()
    slice_index: tuple[int, ...] = ()
    volume_id: tuple[str, ...] = ()
    joint: bool = False
    """Joint super-resolution of both contrasts: the auxiliary at full resolution is what is learned, not an input."""

    @classmethod
    def of(
        cls,
        target_lr: Tensor,
        aux: Tensor,
        aux_lr: Tensor,
        *,
        scale: int,
        protocol: BenchProtocol,
        target: Tensor | None = None,
        patient_id: tuple[str, ...] = (),
        slice_index: tuple[int, ...] = (),
        volume_id: tuple[str, ...] = (),
        joint: bool = False,
    ) -> Batch:
        """A batch of whole slices with statistics as the protocol says; joint: the auxiliary's are those of its LR image."""
        aux_source = aux_lr if joint or protocol.auxiliary_statistics == "lr" else aux
        return cls(
            target_lr=target_lr,
            aux=aux,
            aux_lr=aux_lr,
            scale=scale,
            protocol=protocol,
            target_statistics=protocol.statistics(target_lr.abs()),
            aux_statistics=protocol.statistics(aux_source.abs()),
            target=target,
            patient_id=patient_id,
            slice_index=slice_index,
            volume_id=volume_id,
            joint=joint,
        )

    def __len__(self) -> int:
        return len(self.target_lr)

    @property
    def hr_shape(self) -> tuple[int, int]:
        """(H, W)."""
        return self.aux.shape[-2], self.aux.shape[-1]

    @property
    def target_lr_magnitude(self) -> Tensor:
        """Normalised |target LR|, float32 (B, h, w)."""
        return self.protocol.normalize(self.target_lr.abs(), *self.target_statistics)

    @property
    def target_magnitude(self) -> Tensor:
        """Normalised |target|, float32 (B, H, W). ValueError when predicting: there is no target then."""
        return self.protocol.normalize(self._require_target().abs(), *self.target_statistics)

    @property
    def aux_magnitude(self) -> Tensor:
        """Normalised |auxiliary|, float32 (B, H, W)."""
        return self.protocol.normalize(self.aux.abs(), *self.aux_statistics)

    @property
    def aux_lr_magnitude(self) -> Tensor:
        """Normalised |auxiliary LR|, float32 (B, h, w)."""
        return self.protocol.normalize(self.aux_lr.abs(), *self.aux_statistics)

    @property
    def target_lr_complex(self) -> Tensor:
        """Target LR over the standard deviation of its magnitude, complex64 (B, h, w); no shift, the phase is kept."""
        return self.target_lr / self.target_statistics[1][:, None, None]

    @property
    def target_complex(self) -> Tensor:
        """Target over the same standard deviation, complex64 (B, H, W). ValueError when predicting."""
        return self._require_target() / self.target_statistics[1][:, None, None]

    @property
    def aux_complex(self) -> Tensor:
        """Auxiliary over the standard deviation of its magnitude, complex64 (B, H, W)."""
        return self.aux / self.aux_statistics[1][:, None, None]

    @property
    def aux_lr_complex(self) -> Tensor:
        """Auxiliary LR over the same standard deviation, complex64 (B, h, w)."""
        return self.aux_lr / self.aux_statistics[1][:, None, None]

    def denormalize_target(self, output: Tensor) -> Tensor:
        """A normalised target magnitude (B, H, W) back in physical units; a magnitude cannot be negative: cut at 0."""
        mean, std = self.target_statistics
        return (output * std[:, None, None] + mean[:, None, None]).clamp_min(0)

    def denormalize_auxiliary(self, output: Tensor) -> Tensor:
        """A normalised auxiliary magnitude (B, H, W) back in physical units, cut at 0."""
        mean, std = self.aux_statistics
        return (output * std[:, None, None] + mean[:, None, None]).clamp_min(0)

    def denormalize_complex(self, output: Tensor) -> Tensor:
        """A complex target estimate (B, H, W), normalised as `target_lr_complex`, back in physical units."""
        return output * self.target_statistics[1][:, None, None]

    def crop(self, top: Tensor, left: Tensor, size: int) -> Batch:
        """LR patches of ``size`` x ``size`` at (top, left), integer tensors (B,), with the HR patches they map to.

        A network that up-samples by s turns LR pixel i into HR pixels s*i .. s*i+s-1 of the slice, so that is the HR patch.
        The statistics stay those of whole slices.
        """
        s = self.scale

        def low(x: Tensor) -> Tensor:
            return _patches(x, top, left, size)

        def high(x: Tensor) -> Tensor:
            return _patches(x, top * s, left * s, size * s)

        return replace(
            self,
            target_lr=low(self.target_lr),
            aux=high(self.aux),
            aux_lr=low(self.aux_lr),
            target=None if self.target is None else high(self.target),
        )

    def transform(self, *, mirror_rows: bool = False, mirror_columns: bool = False, transpose: bool = False) -> Batch:
        """All images mirrored or transposed about the centre sample, which commutes with the degradation (see `kspace.reflect`)."""

        def apply(x: Tensor) -> Tensor:
            x = kspace.reflect(x, -2) if mirror_rows else x
            x = kspace.reflect(x, -1) if mirror_columns else x
            return kspace.transpose(x) if transpose else x

        return replace(
            self,
            target_lr=apply(self.target_lr),
            aux=apply(self.aux),
            aux_lr=apply(self.aux_lr),
            target=None if self.target is None else apply(self.target),
        )

    def without_target(self) -> Batch:
        """The same batch as a method gets it when predicting.

        In joint super-resolution the full-resolution auxiliary is NaN then: whoever looks at it is found out.
        """
        return replace(self, target=None, aux=torch.full_like(self.aux, torch.nan) if self.joint else self.aux)

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""

        def move(pair: Statistics) -> Statistics:
            return pair[0].to(device), pair[1].to(device)

        return replace(
            self,
            target_lr=self.target_lr.to(device),
            aux=self.aux.to(device),
            aux_lr=self.aux_lr.to(device),
            target=None if self.target is None else self.target.to(device),
            target_statistics=move(self.target_statistics),
            aux_statistics=move(self.aux_statistics),
        )

    def _require_target(self) -> Tensor:
        if self.target is None:
            raise ValueError("this batch has no target: it is for predicting")
        return self.target


def _patches(x: Tensor, top: Tensor, left: Tensor, size: int) -> Tensor:
    rows = [
        x[i, int(t) : int(t) + size, int(u) : int(u) + size] for i, (t, u) in enumerate(zip(top, left, strict=True))
    ]
    return torch.stack(rows)


class TrainingData(Protocol):
    """What `Method.train` reads: the training and the validation part of a prepared dataset, never the test part."""

    scale: int
    n_train_slices: int

    def steps_per_epoch(self, batch_size: int) -> int:
        """Batches until every training slice was seen once."""

    def batch(self, step: int, *, batch_size: int, patch: int, augment: str) -> Batch:
        """The training batch of a step: a function of (seed, step) and the arguments alone."""

    def validation(self, batch_size: int = 1) -> Iterator[Batch]:
        """Whole validation slices, with target, volume by volume in fixed order; a batch never mixes volumes."""


class Run(Protocol):
    """What the engine gives to `Method.train` besides data."""

    seed: int
    device: torch.device

    def fit(self, method: TorchMethod, data: TrainingData) -> None:
        """The one training loop: budget, validation, best checkpoint, log, resume (`mcsr_bench.training`)."""


class Settings(BaseModel):
    """Base of a method's settings: the card's presets give every field a value, unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class TrainingSettings(Settings):
    """Settings that every trained method has; the training loop and `TorchMethod.configure_optimizers` read them."""

    loss: Literal["l1", "l2"]
    optimizer: Literal["adam", "rmsprop"]
    learning_rate: Annotated[float, Field(gt=0)]
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Of Adam; RMSprop keeps torch's defaults."""
    schedule: Literal["constant", "step", "cosine"]
    """``step``: multiplied by decay_factor every decay_every steps or epochs; ``cosine``: down to zero at the end."""
    decay_every: Annotated[int, Field(ge=1)] = 1
    decay_factor: Annotated[float, Field(gt=0, le=1)] = 1.0
    budget: Annotated[int, Field(ge=1)]
    """How long to train, in ``budget_unit``."""
    budget_unit: Literal["steps", "epochs"]
    """An epoch is ceil(training slices / batch_size) steps."""
    batch_size: Annotated[int, Field(ge=1)]
    patch: Annotated[int, Field(ge=0)]
    """LR pixels per side of a training patch; 0: whole slices."""
    augment: Literal["none", "mirror", "dihedral"]
    """About the centre sample: reflections, or all eight symmetries (square slices only)."""
    validations: Annotated[int, Field(ge=1)] = 10
    """How often the validation part is scored, evenly over the budget and at its end; the best weights are kept."""


class Method(ABC):
    """A way to turn (target LR, auxiliary) into a super-resolved target."""

    Settings: ClassVar[type[Settings]] = Settings

    def __init__(self, card: MethodCard, scale: int, settings: Any) -> None:
        self.card = card
        self.scale = scale
        self.settings = settings

    def train(self, data: TrainingData, run: Run) -> None:  # noqa: B027 - interpolation has nothing to train
        """Learn from the data; does nothing unless overridden."""

    @abstractmethod
    def predict(self, batch: Batch) -> Prediction:
        """Super-resolve whole slices (B, H, W), in physical units. ``batch.target`` is None."""

    def maps(self, batch: Batch) -> dict[str, Tensor]:
        """Internals for figures, by name (attention maps, selected features); empty unless overridden."""
        return {}

    @property
    def joint(self) -> bool:
        """Whether both contrasts are super-resolved, each from its LR image (then `predict` gives both)."""
        return False

    def notes(self) -> list[str]:
        """Sentences that belong beside this method's numbers with these settings, e.g. a part of its loss that is off."""
        return []

    def state(self) -> dict[str, Tensor]:
        """Everything `predict` needs beyond the settings; empty for interpolation."""
        return {}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take back what `state` gave."""
        if state:
            raise ValueError(f"{self.card.name} has no weights, but {len(state)} tensors were given")


class TorchMethod(Method):
    """A method whose predictor is one ``torch.nn.Module``, trained by the engine's loop.

    Supply `build_network`, `forward` and `loss`. Methods that train otherwise override `training_step`, or `train` as a whole.
    """

    Settings: ClassVar[type[Settings]] = TrainingSettings
    settings: Any

    def __init__(self, card: MethodCard, scale: int, settings: Any) -> None:
        super().__init__(card, scale, settings)
        self.network = self.build_network()

    @abstractmethod
    def build_network(self) -> nn.Module:
        """The network with freshly initialised weights (the engine seeds torch before)."""

    @abstractmethod
    def forward(self, batch: Batch) -> Any:
        """Run the network: what `loss` and `prediction` understand."""

    @abstractmethod
    def loss(self, output: Any, batch: Batch) -> Tensor:
        """The training loss, a scalar, of what `forward` gave; ``batch.target`` is there."""

    def prediction(self, output: Any, batch: Batch) -> Prediction:
        """What `forward` gave, in physical units. Default: the output, or the first of a tuple, is a normalised magnitude."""
        return batch.denormalize_target(output[0] if isinstance(output, tuple) else output)

    def predict(self, batch: Batch) -> Prediction:
        """`forward` without gradient, in evaluation mode, then `prediction`."""
        self.network.eval()
        with torch.no_grad():
            return self.prediction(self.forward(batch), batch)

    def train(self, data: TrainingData, run: Run) -> None:
        """The engine's training loop."""
        run.fit(self, data)

    def training_modules(self) -> dict[str, nn.Module]:
        """Every module that training changes, by name; a method with a critic adds it. "network" is the one that predicts."""
        return {"network": self.network}

    def configure_optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """The optimisers by name, as the settings say."""
        return {"network": make_optimizer(self.settings, self.network)}

    def training_step(self, batch: Batch, optimizers: dict[str, torch.optim.Optimizer]) -> dict[str, float]:
        """One update; returns the numbers to log, "loss" among them."""
        optimizer = optimizers["network"]
        optimizer.zero_grad(set_to_none=True)
        loss = self.loss(self.forward(batch), batch)
        loss.backward()
        optimizer.step()
        return {"loss": loss.item()}

    def state(self) -> dict[str, Tensor]:
        """The network's parameters and buffers."""
        return dict(self.network.state_dict())

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Load parameters and buffers; every name must match."""
        self.network.load_state_dict(dict(state), strict=True)

    def pixel_loss(self, output: Tensor, reference: Tensor) -> Tensor:
        """Mean absolute or mean squared difference, as the setting ``loss`` says."""
        difference = output - reference
        return difference.abs().mean() if self.settings.loss == "l1" else difference.square().mean()

    def to(self, device: torch.device | str) -> Self:
        """Move every module to a device."""
        for module in self.training_modules().values():
            module.to(device)
        return self


def make_optimizer(settings: TrainingSettings, module: nn.Module) -> torch.optim.Optimizer:
    """The optimiser that the settings name, over all parameters of a module."""
    if settings.optimizer == "rmsprop":
        return torch.optim.RMSprop(module.parameters(), lr=settings.learning_rate)
    return torch.optim.Adam(module.parameters(), lr=settings.learning_rate, betas=(settings.beta1, 0.999))
