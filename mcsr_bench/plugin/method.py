"""What a method plugin is.

A method plugin subclasses `TorchMethod` (or `Method`, when nothing is trained) in ``methods/NAME/__init__.py``, beside a card
(``card.toml``) whose presets give every setting a value.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal, Protocol, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor, nn

from mcsr_bench.plugin.batch import Batch, Prediction, Statistics
from mcsr_bench.plugin.cards import MethodCard

__all__ = [
    "Batch",
    "Method",
    "Prediction",
    "Run",
    "Settings",
    "Statistics",
    "TorchMethod",
    "TrainingData",
    "TrainingSettings",
    "Update",
    "make_optimizer",
]


class TrainingData(Protocol):
    """What `Method.train` reads: the training and the validation part of a prepared dataset, never the test part."""

    scale: int
    n_train_slices: int
    n_train_pixels: int
    """HR pixels of all training targets."""

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


class Update(Protocol):
    """What the engine gives to `TorchMethod.training_step`: a method computes losses, the engine updates weights."""

    def __call__(self, name: str, loss: Tensor) -> None:
        """One step of the optimiser of that name down the gradient of a loss, a scalar: zero_grad, backward, step.

        ValueError when `TorchMethod.configure_optimizers` gives no such optimiser, or the loss is not a scalar tensor.
        """


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
    budget: Annotated[int | float, Field(gt=0)]
    """How long to train, in ``budget_unit``; steps and epochs are whole numbers."""
    budget_unit: Literal["steps", "epochs", "teraflop"]
    """An epoch is ceil(training slices / batch_size) steps; teraflop are 10^12 FLOP of training (`mcsr_bench.training.budget`)."""
    batch_size: Annotated[int, Field(ge=1)]
    patch: Annotated[int, Field(ge=0)]
    """LR pixels per side of a training patch; 0: whole slices."""
    augment: Literal["none", "mirror", "dihedral"]
    """About the centre sample: reflections, or all eight symmetries (square slices only)."""
    validations: Annotated[int, Field(ge=1)] = 10
    """How often the validation part is scored, evenly over the budget and at its end; the best weights are kept."""

    @model_validator(mode="after")
    def _whole_steps(self) -> Self:
        if self.budget_unit != "teraflop" and self.budget != int(self.budget):
            raise ValueError(f"a budget in {self.budget_unit} is a whole number")
        return self


class Method(ABC):
    """A way to turn (target LR, auxiliary) into a super-resolved target."""

    Settings: ClassVar[type[Settings]] = Settings
    Card: ClassVar[Mapping[str, Any]] = {}
    """What ``card.toml`` says, for a class that is given to a call itself, without a folder. See `mcsr_bench.plugin.given`."""

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

    @property
    def track(self) -> Literal["complex", "magnitude"]:
        """Whether it sees phase with these settings; what the card says, unless overridden."""
        return self.card.track

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
        """The optimisers by name, from the settings."""
        return {"network": make_optimizer(self.settings, self.network)}

    def training_step(self, batch: Batch, update: Update) -> dict[str, Tensor]:
        """One step of training; returns the numbers to log, scalar tensors without graph, "loss" among them.

        They stay on the device: they are fetched when a row of the log is written. The loop raises ValueError for anything else.
        """
        loss = self.loss(self.forward(batch), batch)
        update("network", loss)
        return {"loss": loss.detach()}

    def state(self) -> dict[str, Tensor]:
        """The network's parameters and buffers."""
        return dict(self.network.state_dict())

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Load parameters and buffers; every name must match."""
        self.network.load_state_dict(dict(state), strict=True)

    def pixel_loss(self, output: Tensor, reference: Tensor) -> Tensor:
        """Mean absolute or mean squared difference, by the setting ``loss``; a scalar.

        ValueError when the shapes differ: torch would broadcast (B, 1, H, W) against (B, H, W), every slice against every one.
        """
        if output.shape != reference.shape:
            raise ValueError(
                f"{self.card.name}: pixel_loss of an output {tuple(output.shape)} and a reference {tuple(reference.shape)}"
            )
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
    parameters = list(module.parameters())
    # One pass over all weights where torch has it: a tenth of a step of a small network.
    fused = all(p.is_floating_point() and p.device.type in ("cpu", "cuda") for p in parameters)
    return torch.optim.Adam(parameters, lr=settings.learning_rate, betas=(settings.beta1, 0.999), fused=fused)
