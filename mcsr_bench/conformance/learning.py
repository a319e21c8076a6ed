"""Checks of how a method learns, and of what it leaves behind."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn

from mcsr_bench.plugin.batch import Batch
from mcsr_bench.plugin.loading import method_of
from mcsr_bench.plugin.method import Method, TorchMethod
from mcsr_bench.results.bundle import BundleFiles
from mcsr_bench.training import Loop, Updater, checked_numbers
from mcsr_bench.weights.tensors import load_weights, save_weights

from .outcome import fail, skip
from .subject import STEPS, Subject, distance, perturb, same, seeded
from .synthetic import SyntheticData

_CHECKPOINT_EVERY = 3
_KILL_AT = 5
_TRIES = 8


class _StoppedError(Exception):
    """Ends a training at a step, as a kill would."""


@dataclass
class Trained:
    """A training that went straight through: the method, and its losses step by step."""

    method: Method
    state: dict[str, Tensor]
    """As it was when the training ended."""
    losses: list[float]
    log: bytes


@dataclass
class Learning:
    """The checks of `train`, `state` and `load_state`; each returns what it found or raises."""

    subject: Subject

    @cached_property
    def _straight(self) -> Trained:
        with tempfile.TemporaryDirectory() as folder:
            method = self._train(Path(folder))
            state = {name: tensor.detach().clone() for name, tensor in method.state().items()}
            path = BundleFiles(Path(folder)).training_log
            if not path.is_file():
                return Trained(method, state, [], b"")
            losses = [float(x) for x in pd.read_csv(path).get("loss", [])]
            return Trained(method, state, losses, path.read_bytes())

    def _train(self, folder: Path, stop_at: int = 0) -> Method:
        def report(step: int, steps: int, detail: str) -> None:
            if step == stop_at:
                raise _StoppedError

        method = self.subject.trainable()
        data = SyntheticData(self.subject.scale, self.subject.lr_side(self.subject.scale))
        loop = Loop(folder, seed=0, key="check", report=report, checkpoint_every=_CHECKPOINT_EVERY)
        with seeded(0):
            method.train(data, loop)
        return method

    def trains(self) -> str:
        """A training of a few steps comes to its end, and leaves weights that are finite."""
        self._skip_untrained()
        state = self._straight.state
        if not state:
            fail("trains = true, but state() is empty after training")
        bad = [n for n, t in state.items() if not bool(t.isfinite().all())]
        if bad:
            fail(f"NaN or Inf after training in {_some(bad)}")
        return f"{len(self._straight.losses) or 'some'} steps"

    def learns(self) -> str:
        """A few steps on two batches that come again and again lower the training loss."""
        self._skip_untrained()
        losses = self._straight.losses
        if not losses:
            skip("the training writes no training log: it does not use the engine's loop")
        if len(losses) < 4:
            fail(f"preset smoke trained {len(losses)} steps, too few to see anything")
        first, last = sum(losses[:2]) / 2, sum(losses[-2:]) / 2
        if not last < first:
            fail(f"after {len(losses)} steps the training loss is {last:.4g}; it began with {first:.4g}")
        return f"from {first:.4g} to {last:.4g} in {len(losses)} steps"

    def resumes(self) -> str:
        """A training that is killed and started again ends with the weights and the log of the straight one."""
        self._skip_untrained()
        straight = self._straight
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            try:
                self._train(folder, stop_at=_KILL_AT)
            except _StoppedError:
                resumed = self._train(folder)
            else:
                skip("the training yields no steps, so it cannot be stopped and resumed")
            log = BundleFiles(folder).training_log.read_bytes() if straight.log else b""
        one, two = straight.state, resumed.state()
        if not same(one, two):
            wrong = sorted(
                n for n in one.keys() | two.keys() if n not in one or n not in two or not torch.equal(one[n], two[n])
            )
            fail(
                f"stopped at step {_KILL_AT} and resumed, {len(wrong)} of {len(one)} tensors end otherwise, e.g. {wrong[0]}"
            )
        if log != straight.log:
            fail(f"stopped at step {_KILL_AT} and resumed, the weights are equal, but the training log is not")
        return f"stopped at step {_KILL_AT} of {STEPS} and resumed from step {_CHECKPOINT_EVERY}: equal, bit for bit"

    def saves(self) -> str:
        """Weights that are written, and read into a fresh method, predict the same."""
        if not self.subject.card.trains:
            if self.subject.load().state():
                fail("trains = false, but there is a state to save")
            skip("nothing is trained")
        method = self._straight.method
        if isinstance(method, TorchMethod):
            for i, module in enumerate(method.training_modules().values()):
                perturb(module, seed=7 + i)  # so that no tensor is what a fresh method has
        batch = self.subject.batch(2)
        fresh = self.subject.load(seed=1)
        with tempfile.TemporaryDirectory() as folder:
            path = BundleFiles(Path(folder)).weights
            save_weights(method, path, {})
            load_weights(fresh, path)
        before, after = self.subject.predict(batch, method), self.subject.predict(batch, fresh)
        if not same(before, after):
            fail(
                f"after saving and loading, the prediction differs by {distance(before, after):.1e} of the largest value"
            )
        return f"{len(method.state())} tensors; the same prediction, bit for bit"

    def background(self) -> str:
        """A training patch of pure background leaves loss and weights finite."""
        method = self._torch_method(self.subject.scale)
        data = SyntheticData(self.subject.scale, self.subject.lr_side(self.subject.scale))
        empty = _patch(method, data, 0).map(lr=torch.zeros_like, hr=torch.zeros_like)
        update = Updater(method)
        for step in range(2):
            _train_mode(method, True)
            with seeded(step):
                numbers = checked_numbers(method, method.training_step(empty, update))
            bad = [name for name, value in numbers.items() if not bool(value.isfinite())]
            bad += [name for name, p in _parameters(method).items() if not bool(p.detach().isfinite().all())]
            if bad:
                fail(f"NaN or Inf after step {step + 1} on patches of zeros in: {', '.join(bad[:5])}")
        return "loss and weights stay finite"

    def gradient(self) -> str:
        """Every parameter of every module that training changes gets a gradient, except those that the card declares dead."""
        card = self.subject.card
        used: set[str] = set()
        count = 0
        for scale in self.subject.scales:
            method = self._torch_method(scale)
            names = list(_parameters(method))
            dead = {n for n in names for pattern in card.dead_at(scale) if fnmatchcase(n, pattern)}
            used |= {p for p in card.dead_at(scale) if any(fnmatchcase(n, p) for n in names)}
            reached = _reached(method, SyntheticData(scale, self.subject.lr_side(scale)), set(names) - dead)
            missing = [n for n in names if n not in reached and n not in dead]
            if missing:
                fail(
                    f"no gradient reaches {_some(missing)} at scale {scale}; if that is meant, the card's dead_parameters name it"
                )
            alive = sorted(dead & reached)
            if alive:
                fail(f"the card's dead_parameters name {_some(alive)}, but a gradient reaches it at scale {scale}")
            held = {id(p) for o in method.configure_optimizers().values() for g in o.param_groups for p in g["params"]}
            loose = [n for n, p in _parameters(method).items() if n in reached and id(p) not in held]
            if loose:
                fail(f"a gradient reaches {_some(loose)}, but no optimizer of configure_optimizers holds it")
            count = max(count, len(names))
        declared = dict.fromkeys(p for scale in self.subject.scales for p in card.dead_at(scale))
        unknown = [p for p in declared if p not in used]
        elsewhere = self._names_at_presets() if unknown else set()  # e.g. of a critic that preset quick does without
        unknown = [p for p in unknown if not any(fnmatchcase(n, p) for n in elsewhere)]
        if unknown:
            fail(f"the card's dead_parameters name {_some(unknown)}, which no parameter has")
        return (
            f"all of {count} tensors, but {len(card.dead_parameters)} declared dead"
            if used
            else f"all of {count} tensors"
        )

    def _names_at_presets(self) -> set[str]:
        """The names of all parameters at every preset and scale."""
        names: set[str] = set()
        for preset in self.subject.card.presets:
            for scale in self.subject.scales:
                with torch.device("meta"):
                    method = method_of(self.subject.name, scale, preset, {})
                names |= set(_parameters(method)) if isinstance(method, TorchMethod) else set()
        return names

    def _skip_untrained(self) -> None:
        if not self.subject.card.trains:
            skip("nothing is trained")

    def _torch_method(self, scale: int) -> TorchMethod:
        self._skip_untrained()
        method = self.subject.trainable(scale)
        if not isinstance(method, TorchMethod):
            skip("no TorchMethod: how it trains cannot be looked into")
        return method


def _parameters(method: TorchMethod) -> dict[str, nn.Parameter]:
    """By name: those of "network" as the network names them, others as "MODULE.NAME"; one that two modules share counts once."""
    out: dict[str, nn.Parameter] = {}
    seen: set[int] = set()
    for name, module in method.training_modules().items():
        for key, p in module.named_parameters():
            if id(p) not in seen:
                seen.add(id(p))
                out[key if name == "network" else f"{name}.{key}"] = p
    return out


def _train_mode(method: TorchMethod, on: bool) -> None:
    for module in method.training_modules().values():
        module.train(on)


def _patch(method: TorchMethod, data: SyntheticData, step: int) -> Batch:
    s = method.settings
    return data.batch(step, batch_size=s.batch_size, patch=s.patch, augment="none")


def _reached(method: TorchMethod, data: SyntheticData, wanted: set[str]) -> set[str]:
    """Names of the parameters that a gradient other than zero reaches in some of a few training steps; stops when all wanted are.

    The weights are perturbed again for every step: a ReLU layer can be dead for some weights. Training and evaluation mode take
    turns: batch normalisation cancels the biases before it in training, and a loss may have terms that are only there then.
    """
    update = Updater(method)
    for optimizer in update.optimizers.values():
        for group in optimizer.param_groups:
            group["lr"] = 0.0  # the weights are the perturbation's
    reached: set[str] = set()
    with _watched(method, reached):
        for step in range(_TRIES):
            for i, module in enumerate(method.training_modules().values()):
                perturb(module, seed=100 * step + i)
            _train_mode(method, step % 2 == 0)
            with seeded(step):
                method.training_step(_patch(method, data, step), update)
            if step % 2 and wanted <= reached:
                break
    return reached


@contextmanager
def _watched(method: TorchMethod, reached: set[str]) -> Iterator[None]:
    """While it is open, every ``backward`` adds the names of the parameters that it reaches."""
    handles = []
    for name, p in _parameters(method).items():

        def note(parameter: Tensor, name: str = name) -> None:
            if parameter.grad is not None and bool((parameter.grad != 0).any()):
                reached.add(name)

        if p.requires_grad:
            handles.append(p.register_post_accumulate_grad_hook(note))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:3])
    return shown if len(names) <= 3 else f"{shown} and {len(names) - 3} more"
