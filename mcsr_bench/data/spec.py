"""What is asked of data, by whichever command: `prepare`, `prepare --check`, `run`, `tune`, `evaluate`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict

from mcsr_bench.data.encoding import StoreDtype
from mcsr_bench.errors import UserError, unknown_name
from mcsr_bench.plugin.dataset import Dataset
from mcsr_bench.plugin.loading import dataset_of
from mcsr_bench.plugin.registry import add_plugins, datasets
from mcsr_bench.protocol import get_protocol
from mcsr_bench.results.naming import changed

Register = Literal["none", "rigid", "affine"]


@dataclass(frozen=True)
class Preparation:
    """What a user may choose about preparing data: it changes the numbers, and enters the keys of stores and trials."""

    register: Register | None = None
    """None: rigid where the grids differ, nothing elsewhere."""
    store_dtype: StoreDtype = "complex64"

    @staticmethod
    def of(register: str | None, store_dtype: str | None) -> Preparation:
        """From the words of ``--register`` and ``--store-dtype``. UserError for another word."""
        for option, word, allowed in (
            ("--register", register, get_args(Register)),
            ("--store-dtype", store_dtype, get_args(StoreDtype)),
        ):
            if word is not None and word not in allowed:
                raise UserError(f"{option} {word}: allowed are {', '.join(allowed)}")
        given = {"register": register, "store_dtype": store_dtype}
        return Preparation(**{name: word for name, word in given.items() if word is not None})  # type: ignore[arg-type]

    @property
    def changes(self) -> dict[str, str]:
        """What differs from the default."""
        standard = asdict(Preparation())
        return {name: value for name, value in asdict(self).items() if value != standard[name]}


class DataSpec(BaseModel):
    """Datasets at scales under a protocol, from files in a place, split and prepared in a way."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    names: tuple[str, ...]
    scales: tuple[int, ...]
    """Empty in an experiment with suites: each has its own."""
    protocol: str
    root: Path | None = None
    """``--data-root``."""
    split: Path | None = None
    """A manifest of patients instead of the dataset's own split."""
    preparation: Preparation = Preparation()
    """``--register`` and ``--store-dtype``."""
    settings: dict[str, dict[str, Any]] = {}
    """``--set``, by dataset: what differs from its card."""
    standards: dict[str, dict[str, Any]] = {}
    """What the preset changes of a card's settings, by dataset; unlike `settings` it makes no variant of the dataset."""
    plugins: tuple[Path, ...] = ()
    """The folders of ``--plugins``, in which workers look, too."""

    def at(self, scales: tuple[int, ...]) -> DataSpec:
        """The same at other scales."""
        return self.model_copy(update={"scales": scales})

    def add_plugins(self) -> None:
        """Make the plugins known. UserError for a folder that is not there."""
        for path in self.plugins:
            add_plugins(path)

    def check(self) -> None:
        """UserError for a name, scale, setting or split that cannot be had."""
        if not self.names:
            raise UserError("--dataset is empty")
        protocol = get_protocol(self.protocol)
        for name in self.names:
            datasets().card(name)
        for scale in self.scales:
            protocol.check_scale(scale)
        for name in self.settings:
            if name not in self.names:
                raise unknown_name("dataset of this run", name, self.names)
        if self.split is not None and len(self.names) > 1:
            raise UserError(f"--split {self.split}: is for one dataset, this run has {', '.join(self.names)}")

    def load(self) -> list[Dataset]:
        """The datasets, nothing read. UserError as `check`, and for a data root that is missing."""
        self.add_plugins()
        self.check()
        return [
            dataset_of(name, self.root, self.standards.get(name, {}) | self.settings.get(name, {}))
            for name in self.names
        ]

    def changes(self, dataset: Dataset) -> dict[str, Any]:
        """A dataset's settings that differ from card and preset."""
        usual = (
            type(dataset)
            .Settings(**datasets().card(dataset.name).settings | self.standards.get(dataset.name, {}))
            .model_dump(mode="json")
        )
        return changed(usual, dataset.settings.model_dump(mode="json"))
