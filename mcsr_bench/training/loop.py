"""The one training loop.

Everything random in a step is keyed by (seed, step), and the checkpoint holds everything else, so a run that is killed at any
step and started again ends with the weights of an uninterrupted one, bit for bit on a CPU. A worker that is asked to stop
(`mcsr_bench.system.stopping`) finishes its step and writes a checkpoint.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from mcsr_bench.errors import InterruptedWorkError, UserError
from mcsr_bench.plugin.method import TorchMethod, TrainingData, TrainingSettings
from mcsr_bench.results.bundle import BundleFiles
from mcsr_bench.system import files, frames, stopping
from mcsr_bench.system.computing import PLAIN, Computing
from mcsr_bench.system.precision import computing
from mcsr_bench.weights.tensors import load_tensors, save_tensors

from .ahead import Ahead
from .budget import training_steps
from .group import Group
from .updates import Sums, Updater, checked_numbers, not_finite
from .validation import look, validation_psnr

Report = Callable[[int, int, str], None]
"""Called with (step, steps, detail)."""

COMPILER = "inductor"
"""Of torch.compile; CUDA graphs are not asked for."""
_LOG_ROWS = 100
_SECONDS_BETWEEN_CHECKPOINTS = 30.0


@dataclass
class _State:
    """What a checkpoint holds beside tensors of modules and optimisers."""

    step: int = 0
    best_step: int = -1
    best_psnr: float = -math.inf
    rows: list[dict[str, float]] = field(default_factory=list)
    sums: dict[str, float] = field(default_factory=dict)
    """Of the logged numbers since the last row."""
    count: int = 0
    best: dict[str, Tensor] = field(default_factory=dict)


class Loop:
    """A `mcsr_bench.plugin.method.Run`: trains in a folder, where it leaves its checkpoint and log."""

    def __init__(
        self,
        folder: Path,
        *,
        seed: int,
        device: torch.device | str = "cpu",
        key: str = "",
        report: Report | None = None,
        warn: Callable[[str], None] | None = None,
        computing: Computing = PLAIN,
        group: Group | None = None,
        checkpoint_every: int = 0,
    ) -> None:
        """key: identity of the training; a checkpoint with another one is not resumed; of a damaged one ``warn`` is told.

        group: the processes that share each batch; all but its first validate and write nothing, and end with what the last step
        made of the weights. checkpoint_every: steps between checkpoints; 0: at validations and every half minute. It changes no
        result.
        """
        self.seed = seed
        self.device = torch.device(device)
        self.seconds_per_step = math.nan
        """Of this process, mean over its steps, without validation and what compiling took."""
        self.compile_seconds = math.nan
        """How much longer the first step was than the others, where modules are compiled."""
        self._files = BundleFiles(folder)
        self._key = key
        self._report = report or (lambda *_: None)
        self._warn = warn or (lambda _: None)
        self._computing = computing
        self._group = group or Group()
        self._checkpoint_every = checkpoint_every

    def fit(self, method: TorchMethod, data: TrainingData) -> None:
        """Train a method for its budget; it ends with the weights of the best validation PSNR."""
        settings: TrainingSettings = method.settings
        method.to(self.device)
        if self._computing.compile:
            for module in method.training_modules().values():
                module.compile(backend=COMPILER)
        update = Updater(method, self._group)
        optimizers = update.optimizers
        rates = {name: [g["lr"] for g in o.param_groups] for name, o in optimizers.items()}
        per_epoch = data.steps_per_epoch(settings.batch_size)
        steps = training_steps(method, per_epoch)
        validate_at = {round(steps * (k + 1) / settings.validations) for k in range(settings.validations)} | {steps}
        log_at = {round(steps * (k + 1) / _LOG_ROWS) for k in range(_LOG_ROWS)} | validate_at
        if not self._group.first:
            self._group.wait()  # until the first has set aside a checkpoint that is damaged
        state = self._resume(method, optimizers)
        if self._group.first:
            self._group.wait()
        sums = Sums(self.device, state.sums, state.count)
        spent, first, saved, compiling = 0.0, state.step, time.monotonic(), math.nan
        began = time.perf_counter()
        with Ahead(data, settings, self.device, first, steps, self._group) as ahead:
            while state.step < steps:
                factor = schedule_factor(settings, state.step, steps, per_epoch)
                for name, optimizer in optimizers.items():
                    for group, rate in zip(optimizer.param_groups, rates[name], strict=True):
                        group["lr"] = rate * factor
                batch = ahead.batch(state.step)
                if state.step == 0:
                    look(method, batch)
                    began = time.perf_counter()
                of_step = [self.seed, state.step, 3, *([self._group.rank] if self._group.rank else [])]
                torch.manual_seed(int(np.random.SeedSequence(of_step).generate_state(1)[0]))
                for module in method.training_modules().values():
                    module.train()
                with computing(self._computing.precision or "32", self.device, compiled=self._computing.compile):
                    numbers = self._group.averaged(checked_numbers(method, method.training_step(batch, update)))
                state.step += 1
                if not self._group.first:
                    continue
                if self._computing.compile and state.step == first + 1:
                    numbers["loss"].item()  # waits for the device
                    compiling, began = time.perf_counter() - began, time.perf_counter()
                sums.add(state.step, numbers)
                self._report(state.step, steps, self._detail(numbers, state))
                due = state.step in validate_at or time.monotonic() - saved > _SECONDS_BETWEEN_CHECKPOINTS
                if self._checkpoint_every:
                    due = state.step % self._checkpoint_every == 0
                stop = state.step < steps and bool(stopping.requested())
                if not (due or stop or state.step in log_at):
                    continue
                # This waits for the device: only then have the steps been made.
                state.sums, state.count, unsound = sums.fetch()
                spent += time.perf_counter() - began
                if unsound:
                    factor = schedule_factor(settings, min(unsound.values()) - 1, steps, per_epoch)
                    raise not_finite(method, unsound, {rate * factor for group in rates.values() for rate in group})
                if state.step in log_at:
                    self._log(state, factor, method, data, validate=state.step in validate_at)
                    sums = Sums(self.device, state.sums, state.count)
                if (due or stop) and state.step < steps:
                    self._save(state, method, optimizers)
                    saved = time.monotonic()
                if stop:
                    stopping.check()
                began = time.perf_counter()
        if not self._group.first:
            return
        if state.step > first:
            self.seconds_per_step = spent / max(1, state.step - first - self._computing.compile)
            self.compile_seconds = compiling - self.seconds_per_step
            self._save(state, method, optimizers)
        names = sorted({name for row in state.rows for name in row} - {"step", "rate_factor", "validation_psnr"})
        columns = ["step", "rate_factor", *names, "validation_psnr"]
        frames.write_csv(self._files.training_log, pd.DataFrame(state.rows, columns=columns))
        method.load_state(state.best)

    def _detail(self, numbers: dict[str, Tensor], state: _State) -> str:
        """The loss for the report: of this step on a CPU; of the last row of the log on a GPU, so that nothing waits for it."""
        if self.device.type == "cpu":
            return f"loss {numbers['loss'].item():.4f}"
        return f"loss {state.rows[-1]['loss']:.4f}" if state.rows else ""

    def _log(self, state: _State, factor: float, method: TorchMethod, data: TrainingData, *, validate: bool) -> None:
        row: dict[str, float] = {"step": state.step, "rate_factor": factor}
        row |= {name: total / state.count for name, total in state.sums.items()}
        state.sums, state.count = {}, 0
        row["validation_psnr"] = math.nan
        if validate:
            row["validation_psnr"] = psnr = validation_psnr(method, data, self.device)
            if psnr > state.best_psnr or not state.best:
                state.best_step, state.best_psnr = state.step, psnr
                state.best = {name: tensor.detach().cpu().clone() for name, tensor in method.state().items()}
        state.rows.append(row)

    def _save(self, state: _State, method: TorchMethod, optimizers: dict[str, torch.optim.Optimizer]) -> None:
        tensors = {f"best/{name}": tensor for name, tensor in state.best.items()}
        for name, module in method.training_modules().items():
            tensors |= {f"module/{name}/{key}": value for key, value in module.state_dict().items()}
        for name, optimizer in optimizers.items():
            for index, values in optimizer.state_dict()["state"].items():
                tensors |= {f"optimizer/{name}/{index}/{key}": torch.as_tensor(v) for key, v in values.items()}
        info = {
            "key": self._key,
            "step": state.step,
            "best_step": state.best_step,
            "best_psnr": repr(state.best_psnr),
            "rows": [{k: repr(v) for k, v in row.items()} for row in state.rows],
            "sums": {k: repr(v) for k, v in state.sums.items()},
            "count": state.count,
        }
        save_tensors(self._files.checkpoint, tensors, info)

    def _resume(self, method: TorchMethod, optimizers: dict[str, torch.optim.Optimizer]) -> _State:
        path = self._files.checkpoint
        if not path.is_file():
            return _State()
        try:
            tensors, info = load_tensors(path)
        except InterruptedWorkError:  # it may be sound
            raise
        except UserError as error:
            self._warn(f"{error}; the training begins again")
            files.set_aside(path)
            return _State()
        if info.get("key") != self._key:
            return _State()
        parts: dict[str, Any] = {"best": {}, "module": {}, "optimizer": {}}
        for full, tensor in tensors.items():
            kind, _, name = full.partition("/")
            parts[kind][name] = tensor
        for name, module in method.training_modules().items():
            module.load_state_dict(_below(parts["module"], f"{name}/"), strict=True)
        for name, optimizer in optimizers.items():
            values: dict[int, dict[str, Tensor]] = {}
            for key, tensor in _below(parts["optimizer"], f"{name}/").items():
                index, _, what = key.partition("/")
                values.setdefault(int(index), {})[what] = tensor
            optimizer.load_state_dict({"state": values, "param_groups": optimizer.state_dict()["param_groups"]})
            _lay_out(optimizer)
        return _State(
            step=info["step"],
            best_step=info["best_step"],
            best_psnr=float(info["best_psnr"]),
            rows=[{k: float(v) if k != "step" else int(v) for k, v in row.items()} for row in info["rows"]],
            sums={k: float(v) for k, v in info["sums"].items()},
            count=info["count"],
            best=parts["best"],
        )


def _lay_out(optimizer: torch.optim.Optimizer) -> None:
    """Bring the averages of an optimiser into the layout of their weights; files have them row by row.

    Fused Adam takes both for equally laid out, and does not look.
    """
    for weight, values in optimizer.state.items():
        for name, value in values.items():
            if isinstance(value, Tensor) and value.shape == weight.shape:
                values[name] = torch.empty_like(weight, dtype=value.dtype).copy_(value)


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def schedule_factor(settings: TrainingSettings, step: int, steps: int, per_epoch: int) -> float:
    """What the learning rate is multiplied by at a step (from 0 to steps - 1)."""
    if settings.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * step / steps))
    if settings.schedule == "step":
        every = settings.decay_every * (per_epoch if settings.budget_unit == "epochs" else 1)
        return float(settings.decay_factor ** (step // every))
    return 1.0
