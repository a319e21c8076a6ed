"""The batch: what holds for every field it lists, against plain torch, also for fields that a subclass adds."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mcsr_bench import Batch
from mcsr_bench.plugin.batch import CONSTANT, HR_IMAGE, LR_IMAGE, PER_SLICE, STATISTICS
from mcsr_bench.protocol import MCSR_1, SANET_2021

SCALE = 2
LR = ("target_lr", "auxiliary_lr", "edges")
HR = ("auxiliary", "target", "mask")
PAIRS = ("target_statistics", "auxiliary_statistics")
IDS = ("patient_id", "slice_index", "volume_id")


@dataclass(frozen=True)
class Richer(Batch):
    """One more image of each size, one more value per slice and one more constant."""

    edges: Tensor = field(kw_only=True, metadata=LR_IMAGE)
    mask: Tensor = field(kw_only=True, metadata=HR_IMAGE)
    coil: tuple[int, ...] = field(default=(), metadata=PER_SLICE)
    site: str = field(default="here", metadata=CONSTANT)


def images(n: int, size: int, seed: int) -> Tensor:
    return torch.randn(n, size, size, dtype=torch.complex64, generator=torch.Generator().manual_seed(seed))


def make(n: int = 4, size: int = 6, seed: int = 0, *, joint: bool = False) -> Richer:
    plain = Batch.of(
        images(n, size, seed),
        images(n, SCALE * size, seed + 1),
        images(n, size, seed + 2),
        scale=SCALE,
        protocol=MCSR_1,
        target=images(n, SCALE * size, seed + 3),
        patient_id=tuple(f"p{seed}{i}" for i in range(n)),
        slice_index=tuple(range(10 + seed, 10 + seed + n)),
        volume_id=tuple(f"v{seed}{i}" for i in range(n)),
        joint=joint,
    )
    extra = {"edges": images(n, size, seed + 4), "mask": images(n, SCALE * size, seed + 5)}
    return Richer(**vars(plain), **extra, coil=tuple(range(n)))


def equal(one: Any, two: Any) -> bool:
    """Whether two values of a field are the same, bit for bit; NaN equals NaN."""
    if isinstance(one, Tensor) and isinstance(two, Tensor):
        return np.array_equal(one.numpy(), two.numpy(), equal_nan=True)
    if isinstance(one, tuple) and any(isinstance(x, Tensor) for x in one):
        return len(one) == len(two) and all(map(equal, one, two))
    return bool(one == two)


def different(one: Batch, two: Batch) -> set[str]:
    """Names of the fields that differ."""
    assert type(one) is type(two)
    return {f.name for f in fields(one) if not equal(getattr(one, f.name), getattr(two, f.name))}


def test_every_field_says_what_it_holds() -> None:
    known = {kind["holds"] for kind in (LR_IMAGE, HR_IMAGE, STATISTICS, PER_SLICE, CONSTANT)}
    assert {f.name: f.metadata.get("holds") in known for f in fields(Batch)} == {f.name: True for f in fields(Batch)}
    by_kind = {kind: {f.name for f in fields(Batch) if f.metadata["holds"] == kind} for kind in known}
    assert by_kind["LR image"] == {"target_lr", "auxiliary_lr"}
    assert by_kind["HR image"] == {"auxiliary", "target"}
    assert by_kind["statistics"] == set(PAIRS)
    assert by_kind["value per slice"] == set(IDS)


def test_a_field_that_does_not_say_is_named() -> None:
    @dataclass(frozen=True)
    class Silent(Batch):
        more: Tensor | None = None

    silent = Silent(**vars(Batch.of(images(1, 4, 0), images(1, 8, 1), images(1, 4, 2), scale=2, protocol=MCSR_1)))
    for use in (lambda: silent[:1], lambda: silent.map(lr=torch.zeros_like), lambda: Batch.stack([silent])):
        with pytest.raises(TypeError, match=r"Silent\.more does not declare what it holds"):
            use()


def test_map_takes_every_image_of_its_size_and_nothing_else() -> None:
    batch = make()
    doubled, shifted = batch.map(lr=lambda x: 2 * x), batch.map(hr=lambda x: x + 1)
    assert different(doubled, batch) == set(LR)
    assert different(shifted, batch) == set(HR)
    assert all(torch.equal(getattr(doubled, name), 2 * getattr(batch, name)) for name in LR)
    assert all(torch.equal(getattr(shifted, name), getattr(batch, name) + 1) for name in HR)
    assert different(batch.map(), batch) == set()
    assert replace(batch, target=None).map(hr=lambda x: x + 1).target is None


@pytest.mark.parametrize(
    "which", [slice(1, 3), slice(None), slice(None, None, -2), slice(2, 99), [0, 2], [-1], [1, 1, 0]]
)
@pytest.mark.parametrize("joint", [False, True])
def test_slices_of_a_batch_have_all_that_belongs_to_them(which: slice | list[int], joint: bool) -> None:
    batch = make(joint=joint)
    part, chosen = batch[which], list(np.arange(4)[which])
    assert len(part) == len(chosen)
    assert isinstance(part, Richer)
    for name in (*LR, *HR):
        assert torch.equal(getattr(part, name), torch.stack([getattr(batch, name)[i] for i in chosen]))
    for name in PAIRS:
        for mine, theirs in zip(getattr(part, name), getattr(batch, name), strict=True):
            assert torch.equal(mine, torch.stack([theirs[i] for i in chosen]))
    for name in (*IDS, "coil"):
        assert getattr(part, name) == tuple(getattr(batch, name)[i] for i in chosen)
    assert (part.scale, part.protocol, part.joint, part.site) == (SCALE, MCSR_1, joint, "here")
    torch.testing.assert_close(part.auxiliary_magnitude, batch.auxiliary_magnitude[chosen])


def test_slices_are_copies_and_absent_fields_stay_absent() -> None:
    batch = make()
    kept = batch.target_lr.clone()
    batch[:].target_lr.zero_()
    batch[1:3].target_lr.zero_()
    assert torch.equal(batch.target_lr, kept)
    bare = Batch.of(images(3, 4, 0), images(3, 8, 1), images(3, 4, 2), scale=2, protocol=MCSR_1)[1:]
    assert (bare.target, bare.patient_id, bare.slice_index) == (None, (), ())


def test_what_no_slice_of_a_batch_is() -> None:
    batch = make()
    with pytest.raises(TypeError, match=r"batch\[\[1\]\]"):
        batch[1]  # type: ignore[index]
    with pytest.raises(IndexError):
        batch[[4]]


@pytest.mark.parametrize("cuts", [(4,), (1, 1, 1, 1), (2, 2), (1, 3)])
def test_parts_stacked_are_the_whole(cuts: tuple[int, ...]) -> None:
    batch = make(joint=True)
    ends = np.cumsum(cuts)
    whole = Batch.stack([batch[end - n : end] for n, end in zip(cuts, ends, strict=True)])
    assert isinstance(whole, Richer)
    assert different(whole, batch) == set()


def test_stacking_keeps_the_order_and_takes_batches_without_target() -> None:
    one, two = (b.without_target() for b in (make(2, seed=0), make(3, seed=7)))
    both = Batch.stack([one, two])
    assert torch.equal(both.auxiliary, torch.cat([one.auxiliary, two.auxiliary]))
    assert torch.equal(
        both.auxiliary_statistics[1], torch.cat([one.auxiliary_statistics[1], two.auxiliary_statistics[1]])
    )
    assert both.patient_id == (*one.patient_id, *two.patient_id)
    assert both.target is None


def test_what_cannot_be_stacked() -> None:
    batch, plain = make(), Batch.of(images(1, 6, 0), images(1, 12, 1), images(1, 6, 2), scale=2, protocol=MCSR_1)
    for parts, message in (
        ([], "stack needs at least one batch"),
        ([batch, make(size=5)], r"the size of target_lr: \(6, 6\), \(5, 5\)"),
        ([batch, replace(batch, joint=True)], "differ in joint"),
        ([batch, replace(batch, protocol=SANET_2021)], "differ in protocol"),
        ([batch, replace(batch, site="there")], "differ in site"),
        ([batch, batch.without_target()], "some of the batches to stack have target"),
        ([batch, replace(batch, slice_index=())], "some of the batches to stack have slice_index"),
        ([batch, plain], "several classes: Batch, Richer"),
    ):
        with pytest.raises(ValueError, match=message):
            Batch.stack(parts)


def test_patches_of_lr_and_hr_show_the_same_place() -> None:
    batch, top, left = make(), [0, 1, 2, 3], [2, 0, 1, 3]
    patch = batch.crop(torch.tensor(top), torch.tensor(left), 3)
    for names, s in ((LR, 1), (HR, SCALE)):
        for name in names:
            rows = [
                getattr(batch, name)[i, s * t : s * (t + 3), s * u : s * (u + 3)]
                for i, (t, u) in enumerate(zip(top, left, strict=True))
            ]
            assert torch.equal(getattr(patch, name), torch.stack(rows))
    assert different(patch, batch) == {*LR, *HR}


def test_mirrored_and_transposed_images_turn_about_the_centre_sample() -> None:
    batch = make()
    turned = batch.transform(mirror_columns=True, transpose=True)
    for name in (*LR, *HR):
        image, n = getattr(batch, name).numpy(), getattr(batch, name).shape[-1]
        expected = image[..., (2 * (n // 2) - np.arange(n)) % n].swapaxes(-2, -1)
        np.testing.assert_array_equal(getattr(turned, name).numpy(), expected)
    assert different(turned, batch) == {*LR, *HR}
    assert different(batch.transform(mirror_rows=True), batch) == {*LR, *HR}
    assert different(batch.transform(), batch) == set()


def test_without_target_hides_what_is_learned_and_keeps_the_rest() -> None:
    assert different(make().without_target(), make()) == {"target"}
    joint = make(joint=True).without_target()
    assert different(joint, make(joint=True)) == {"target", "auxiliary"}
    assert joint.auxiliary.isnan().all()
    assert torch.equal(joint.auxiliary_statistics[0], make(joint=True).auxiliary_statistics[0])


def test_moving_takes_every_tensor() -> None:
    there = make().to("meta")
    for name in (*LR, *HR):
        assert getattr(there, name).device.type == "meta"
    for name in PAIRS:
        assert [x.device.type for x in getattr(there, name)] == ["meta", "meta"]
    assert (there.patient_id, there.coil) == (make().patient_id, (0, 1, 2, 3))
