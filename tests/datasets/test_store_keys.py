"""What enters the key of prepared data: all that changes what is read of a case, and not how cases are chosen and split."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import m4raw_files
import pair_files
import pytest

from mcsr_bench.data.prepare import Prepared, prepare
from mcsr_bench.data.spec import Preparation
from mcsr_bench.plugin.dataset import Dataset
from mcsr_bench.plugin.loading import load_dataset
from mcsr_bench.plugin.registry import datasets
from mcsr_bench.protocol import MCSR_1

pytestmark = pytest.mark.usefixtures("own_cache")


def prepared(
    name: str, root: Path, preparation: Preparation | None = None, scale: int = 2, **settings: Any
) -> Prepared:
    [one] = prepare(load_dataset(name, root, **settings), MCSR_1, [scale], preparation=preparation)
    return one


@pytest.mark.parametrize("name", ["fastmri", "fastmri-brain", "m4raw", "nifti", "mcsr-pair", "brain-sim"])
def test_only_settings_that_are_there_are_left_out(name: str) -> None:
    plugin: type[Dataset] = datasets().load(name)
    assert plugin.Settings.choosing <= plugin.Settings.model_fields.keys()


@pytest.mark.parametrize("name", ["m4raw", "mcsr-pair"])
def test_another_split_uses_the_same_prepared_data(tmp_path: Path, name: str) -> None:
    if name == "m4raw":
        root = m4raw_files.write_tree(tmp_path / "data", 6, slices=2, coils=2, shape=(32, 32))
    else:
        root = pair_files.write_folder(tmp_path / "data", 6, slices=2)
    standard = prepared(name, root)
    other = prepared(name, root, split_seed=3, test_fraction=0.4)
    assert other.split.hash != standard.split.hash
    assert other.store.key == standard.store.key
    shutil.copytree(root, tmp_path / "elsewhere")
    moved = prepared(name, tmp_path / "elsewhere").store
    assert moved.key == standard.store.key
    assert all(str(tmp_path / "elsewhere") in str(facts) and str(root) not in str(facts) for facts in moved.facts)


def test_whatever_changes_images_changes_the_key(tmp_path: Path) -> None:
    root = m4raw_files.write_tree(tmp_path / "data", 3, slices=2, coils=2, shape=(64, 64))
    settings: list[dict[str, Any]] = [{}, {"phase": "none"}, {"recentre": False}, {"repetitions": "first"}]
    settings.append({"target": "T1", "auxiliary": "T2"})
    made = [prepared("m4raw", root, **chosen) for chosen in settings]
    made += [prepared("m4raw", root, scale=4), prepared("m4raw", root, Preparation(store_dtype="float16-pair"))]
    assert len({one.store.key for one in made}) == len(made)
    volumes = root.rglob("*_T101.h5")
    pair_files.edit(next(volumes), lambda file: file.attrs.__setitem__("note", "x"))
    assert prepared("m4raw", root).store.key != made[0].store.key
