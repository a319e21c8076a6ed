"""Runs for the leaderboard's tests: one that was computed, others that nobody trained, and one that is hostile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fake_run as fake

from mcsr_bench.experiment.asking import experiment_spec
from mcsr_bench.experiment.run import run_experiment
from mcsr_bench.plugin.registry import scoped_plugins
from mcsr_bench.results.naming import variant_of
from mcsr_bench.system import files

TOYS = Path(__file__).parents[1] / "toys"
EVIL = "<img src=x onerror='window.owned=1'><script>window.owned=1</script>"
ESCAPES = "\x1b]0;owned\x07\u202etxt"
PATIENTS = 9


def computed(
    out: Path, methods: tuple[str, ...] = ("zerofill", "bicubic", "toynet"), seeds: Any = None, **settings: Any
) -> Path:
    """A run of the toy data set that `verify` says is right, with predictions. Called quick: smoke is not a result."""
    data = {"toy": {"patients": 16, "slices": 3, **settings}}
    spec = experiment_spec(methods, "toy", 2, preset="smoke", seeds=seeds, out=out, jobs=1, settings=data, plugins=TOYS)
    with scoped_plugins(spec.data.plugins):
        run_experiment(spec)
    for path in out.glob("*/*/*/*/trial.json"):  # no key depends on the name of a preset
        files.write_json(path, {**files.read_json(path), "preset": "quick"})
    return out


def claimed(
    out: Path,
    better: dict[str, float],
    *,
    data: Any = None,
    seeds: tuple[int, ...] = (0, 1, 2),
    weights: str = "",
    **changes: Any,
) -> Path:
    """Scores alone, drawn: ``better``: what a method has more than another, in dB."""
    data = data or fake.data_record("knee", patients=PATIENTS, reported_as="fastMRI")
    patients = data.patients["test"]
    for method, more in better.items():
        for seed in seeds:
            psnr = fake.draw(method, patients, seed=seed, better=more)
            profile = {"parameters": 1000.0 * (1 + len(method)), "macs": 1e9 * (1 + len(method)), "steps": 10.0}
            folder = fake.write_trial_of(out, method, psnr, data=data, seed=seed, **{"profile": profile, **changes})
            fake.seal(folder, weights and f"{weights}-{method}-{seed}")
    return out


def hostile(out: Path) -> Path:
    """A run whose every text is an attack."""
    data = fake.data_record(
        "evil",
        patients=PATIENTS,
        title=EVIL + ESCAPES,
        target=EVIL,
        auxiliary="../../x",
        split_rule=EVIL,
        marks=[EVIL + ESCAPES, "../../../etc/passwd", "</script>"],
        real=False,
    )
    card = {
        "title": EVIL,
        "authors": EVIL,
        "code": "javascript:window.owned=1",
        "venue": ESCAPES,
        "assumptions": [EVIL, 3],
    }
    more = {
        "notes": [EVIL],
        "settings": {"key": EVIL},
        "changes": {"key": EVIL},
        "variant": variant_of({"key": EVIL}),
        "contrast": EVIL,
    }
    claimed(out, {"edsr": 0.1, "sanet": 0.3}, data=data, card=card, seeds=(0,), **more)
    for path in out.glob("*/*/*/*/*.csv"):
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace("p000", "=1+1<b>").replace("p001", "../p001"), encoding="utf-8")
    for path in out.glob("*/*/*/*/trial.json"):
        fake.seal(path.parent)
    return out
