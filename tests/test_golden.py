"""Golden values: no number of a protocol, a metric or a batch moves without its revision, and no revision without new numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from golden import images, scores
from golden.values import GOLDEN

from mcsr_bench import Batch, Case, Dataset, Split, split_by_patient
from mcsr_bench.data import sampler as sampling
from mcsr_bench.data.manifest import folds
from mcsr_bench.data.sampler import Sampler
from mcsr_bench.data.store import Store, build_store
from mcsr_bench.metrics import METRICS, Reference, score_volume
from mcsr_bench.plugin.split import DatasetSettings, as_protocol_wants
from mcsr_bench.protocol import MCSR_1, PROTOCOLS, REVISIONS, Protocol
from mcsr_bench.regions import Regions
from mcsr_bench.results import statistics

CHECKS = images.checks
EXACT, SINGLE = 1e-12, 1e-6
"""Relative tolerances of float64 and float32; of lists, relative to the largest number in the list."""

NOW: dict[str, int | None] = {
    **REVISIONS,
    "batches": sampling.REVISION,
    "comparison": None,  # computed when a report is made, stored with no result
    **{metric.id: metric.revision for metric in METRICS.values()},
}
NAMED = {name: values for (name, _), values in GOLDEN.items()}


def agrees(got: dict[str, Any], name: str, tolerance: float) -> None:
    """The numbers are the golden ones, and none is missing."""
    wanted = NAMED[name]
    assert set(got) == set(wanted)
    for key, value in wanted.items():
        if isinstance(value, str):
            assert got[key] == value, (name, key)
        else:
            size = np.max(np.abs(value), initial=0)
            np.testing.assert_allclose(got[key], value, rtol=0, atol=tolerance * size, err_msg=f"{name}: {key}")


def test_every_revision_has_its_golden_values():
    """A raised revision, and a new metric, bring numbers of their own; `golden/write.py` writes them."""
    assert set(GOLDEN) == set(NOW.items())
    assert all(protocol.revisions == REVISIONS for protocol in PROTOCOLS.values())


def test_the_golden_values_come_from_a_computation_without_the_engine():
    computed = images.computed() | scores.computed()
    assert set(computed) == set(NAMED)
    for name, values in computed.items():
        agrees(values, name, EXACT)


@pytest.mark.parametrize(("kind", "tolerance"), [(np.complex128, EXACT), (np.complex64, SINGLE)])
def test_degradation(kind: type, tolerance: float, own_cache: Path):
    got = {}
    for name, protocol in PROTOCOLS.items():
        for scale, shape in images.DEGRADED:
            low = protocol.degrade(torch.from_numpy(images.image(1, *shape)[0].astype(kind)), scale)
            got[f"{name} x{scale} {shape[0]} x {shape[1]}"] = CHECKS(low.numpy())
        got[f"{name} crop"] = [n for scale, shape in images.CROPPED for n in protocol.hr_shape(shape, scale)]
        got[f"{name} slices"] = list(stored(protocol, "empty").volumes["empty"].slice_index)
    agrees(got, "degradation", tolerance)


VIEWS = {
    "target": "target_magnitude",
    "target LR": "target_lr_magnitude",
    "target complex": "target_complex",
    "auxiliary": "auxiliary_magnitude",
    "auxiliary LR": "auxiliary_lr_magnitude",
}


@pytest.mark.parametrize(("kind", "tolerance"), [(np.complex128, EXACT), (np.complex64, SINGLE)])
def test_normalisation(kind: type, tolerance: float):
    got = {}
    for name, protocol in PROTOCOLS.items():
        target, auxiliary, low, auxiliary_low = (torch.from_numpy(x.astype(kind)) for x in images.pair(name))
        for joint in (False, True):
            batch = Batch.of(low, auxiliary, auxiliary_low, scale=2, protocol=protocol, target=target, joint=joint)
            views = {key: getattr(batch, view).numpy() for key, view in VIEWS.items()}
            if joint:
                views = {f"{key[:9]} of a joint method{key[9:]}": views[key] for key in ("auxiliary", "auxiliary LR")}
            else:
                got[f"{name} mean and std"] = torch.cat(protocol.statistics(low.abs())).tolist()
                output = torch.from_numpy(images.output()).to(target.real.dtype)
                got[f"{name} scored prediction"] = CHECKS(batch.denormalize_target(output).numpy())
            whole = ("target", "target LR")  # of the others, the constant slice says nothing or is divided by 1e-11
            got |= {f"{name} {key}": CHECKS(view if key in whole else view[:2]) for key, view in views.items()}
        reference = protocol.scoring_reference(target.numpy(), low.numpy())
        got[f"{name} scored reference"] = CHECKS(reference[:2])
    agrees(got, "normalisation", tolerance)


def test_split():
    cases = [Case(patient, volume, 1, (16, 16)) for patient, volume in images.VISITS]
    patient = {case.volume_id: case.patient_id for case in cases}

    def parts(split: Split) -> str:
        split.check(cases)
        found = [sorted({patient[v] for v in part}) for part in (split.train, split.validation, split.test)]
        assert len(split.train) % 2 == len(split.test) % 2 == 0  # both volumes of a patient
        return " | ".join(" ".join(part) for part in found)

    made = split_by_patient(cases, (0.6, 0.15, 0.25), 3, "rule")
    got = {name: parts(as_protocol_wants(made, protocol)) for name, protocol in PROTOCOLS.items()}
    got |= {f"fold {k + 1}": parts(split) for k, split in enumerate(folds(cases, 3, seed=2))}
    agrees(got, "split", EXACT)


@pytest.fixture(scope="module")
def metrics() -> dict[str, dict[str, list[float]]]:
    """Of every metric the scores of a magnitude and of a complex image, and the pixels of the regions."""
    truth, *predictions = images.scored_volume()
    reference, low = Reference(truth), images.degraded(truth, 4)

    def degrade(x: np.ndarray) -> np.ndarray:
        return MCSR_1.degrade(torch.from_numpy(x), 4).numpy()

    found = [score_volume(prediction, reference, lr=low, degrade=degrade) for prediction in predictions]
    assert all(set(row) == set(METRICS) for f in found for row in (f.volume, *f.slices))
    got: dict[str, dict[str, list[float]]] = {
        name: {"slices": [row[name] for f in found for row in f.slices], "volumes": [f.volume[name] for f in found]}
        for name in METRICS
    }
    for region, mask in Regions.of(np.abs(truth)).items():
        got[f"psnr@{region}"]["pixels"] = [int(m.sum()) for m in mask]
    return got


@pytest.mark.parametrize("name", METRICS)
def test_metric(name: str, metrics: dict[str, dict[str, list[float]]]):
    agrees(metrics[name], name, EXACT)


class Formula(Dataset):
    """The volumes that `images` gives."""

    needs_root = False
    contrasts = ("B", "A")

    def cases(self) -> list[Case]:
        empty = Case("empty", "empty", 7, (16, 16))
        return [Case(name.split("-")[0], name, 2, shape) for name, shape in images.TRAINED.items()] + [empty]

    def read(self, case: Case) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        volumes = [images.nearly_empty()] * 2 if case.volume_id == "empty" else images.stored_pair(case.volume_id)
        yield from zip(*(x.astype(np.complex64) for x in volumes), strict=True)

    def split(self, cases: Sequence[Case], protocol: Protocol) -> Split:
        names = list(images.TRAINED)
        return Split(tuple(names[:3]), (names[3],), (names[4],), "by formula")

    def fingerprint(self) -> str:
        return "golden"


def stored(protocol: Protocol, *only: str) -> Store:
    dataset = Formula("golden", DatasetSettings())
    cases = [case for case in dataset.cases() if case.volume_id in (only or images.TRAINED)]
    return build_store(dataset, cases, protocol, 2)


def test_batches(own_cache: Path):
    dataset = Formula("golden", DatasetSettings())
    sampler = Sampler(stored(MCSR_1), dataset.split(dataset.cases(), MCSR_1), MCSR_1, seed=images.SEED)
    assert sampler.steps_per_epoch(images.BATCH_SIZE) == images.EPOCH
    got: dict[str, Any] = {}
    for augment, patch in images.WAYS:
        for step in images.STEPS:
            batch = sampler.batch(step, batch_size=images.BATCH_SIZE, patch=patch, augment=augment)
            name = f"{augment}, patch {patch}, step {step}"
            drawn = zip(batch.volume_id, batch.slice_index, strict=True)
            got[f"{name}: slices"] = " ".join(f"{volume}/{index}" for volume, index in drawn)
            assert batch.target is not None
            rest = [n for x in (batch.auxiliary, batch.target_lr, batch.auxiliary_lr) for n in CHECKS(x.numpy())[-2:]]
            got[name] = CHECKS(batch.target.numpy()) + rest
    agrees(got, "batches", SINGLE)


def test_unit_of_the_test():
    rows = []
    names = ("reference", "method")
    for (patient, volume, slice_index, seed), values in scores.volume_scores().items():
        for name, score in zip(names, values, strict=True):
            where = {"patient_id": f"p{patient}", "volume_id": f"v{volume}{patient}", "slice_index": slice_index}
            rows.append({"method": name, "seed": seed, **where, "psnr": score})
    slices = pd.DataFrame(rows).assign(**dict.fromkeys(statistics.GROUP, "x"), variant="")
    slices["scale"] = 2
    volumes = slices[slices["slice_index"] == 1].drop(columns="slice_index")
    by_patient = statistics.patient_scores(volumes, "psnr")
    got: dict[str, Any] = {
        f"patients of the {name}": by_patient[by_patient["method"] == name]["score"].tolist() for name in names
    }
    for protocol in PROTOCOLS:
        here = {"protocol": protocol}
        found = statistics.comparisons(
            volumes.assign(**here), ["psnr"], ["reference"], slices=lambda h=here: slices.assign(**h), bootstrap=False
        )
        got[f"p over slices, {protocol}"] = float(found["p_slice_invalid"].iloc[0])
    assert np.isnan(got.pop("p over slices, mcsr-1"))
    agrees(got, "test", EXACT)


def test_comparison():
    found = statistics.compare_pairs(*scores.compared_scores())
    got = {
        "mean difference": found.mean_difference,
        "t interval": [found.ci_low, found.ci_high],
        "p of t": found.p_t,
        "p of Wilcoxon": found.p_wilcoxon,
        "d_z": found.d_z,
        "BCa interval": [found.ci_boot_low, found.ci_boot_high],
    }
    agrees(got, "comparison", EXACT)
