"""The store: what it holds, when it is built again, and that a half-built one is never used."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from mcsr_bench.data.prepare import prepare
from mcsr_bench.data.spec import Preparation
from mcsr_bench.data.store import open_store, store_root
from mcsr_bench.engines.processes import Processes
from mcsr_bench.errors import UserError
from mcsr_bench.plugin.loading import load_dataset
from mcsr_bench.plugin.registry import add_plugins
from mcsr_bench.protocol import MCSR_1, SANET_2021
from mcsr_bench.system import files
from mcsr_bench.system.progress import Listener

TOYS = Path(__file__).parent / "toys"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MCSR_BENCH_CACHE", str(tmp_path / "cache"))
    add_plugins(TOYS)
    return tmp_path / "cache"


def prepared(scales=(2,), protocol=MCSR_1, jobs=1, **settings):
    return prepare(load_dataset("toy", **settings), protocol, scales, engine=Processes(jobs), plugins=[TOYS])


def test_it_holds_cropped_hr_and_its_degraded_lr():
    [one] = prepared(size=37)
    dataset = load_dataset("toy", size=37)
    case = dataset.cases()[4]
    volume = one.store.volumes[case.volume_id]
    for i, (target, auxiliary) in enumerate(dataset.read(case)):
        hr = torch.from_numpy(target[37 // 2 - 16 : 37 // 2 + 16, 37 // 2 - 16 : 37 // 2 + 16])
        np.testing.assert_array_equal(volume.target[i], hr.numpy())
        np.testing.assert_allclose(volume.target_lr[i], MCSR_1.degrade(hr, 2).numpy(), atol=1e-6)
        assert volume.auxiliary[i].shape == (32, 32)
        assert auxiliary.shape == (37, 37)
    assert volume.target.dtype == np.complex64
    assert any("cropped to 32 x 32" in f.message for f in one.store.findings)


def test_scales_share_the_hr_part_where_the_crop_is_the_same():
    two, four = prepared((2, 4))
    assert two.store.key != four.store.key
    assert two.store.volumes["p00-v0"].hr_folder == four.store.volumes["p00-v0"].hr_folder
    [other] = prepared((2,), size=48)
    [crop] = prepared((4,), size=48)  # 48 is no multiple of 32
    assert other.store.volumes["p00-v0"].hr_folder != crop.store.volumes["p00-v0"].hr_folder


def test_the_key_follows_data_settings_and_protocol():
    keys = {prepared()[0].store.key, prepared(seed=1)[0].store.key, prepared(protocol=SANET_2021)[0].store.key}
    assert len(keys) == 3
    assert prepared()[0].store.key in keys


@pytest.mark.usefixtures("workers")
@pytest.mark.slow
def test_several_processes_build_the_same_bytes(cache, monkeypatch, tmp_path):
    (tmp_path / "json.py").write_text("raise SystemExit('workers import nothing from the current folder')")
    monkeypatch.chdir(tmp_path)
    [one] = prepared(jobs=1)
    folder = one.store.volumes["p00-v0"].hr_folder
    serial = {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    os.rename(cache, cache.with_name("other"))
    from mcsr_bench.data.store import _memory_map

    _memory_map.cache_clear()
    [two] = prepared(jobs=2)
    folder = two.store.volumes["p00-v0"].hr_folder
    assert serial == {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_empty_slices_are_left_out_with_a_finding():
    [one] = prepared(fault="empty-slice", slices=3)
    volume = one.store.volumes["p00-v0"]
    assert volume.slice_index == (1, 2)
    assert volume.target.shape == (2, 32, 32)
    assert sum(f.code == "empty-slices" for f in one.store.findings) == 10


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ("nan", "slice 1 of the target holds NaN or Inf"),
        ("zero", "the target volume p03-v0 is zero everywhere"),
        ("raise", "truncated"),
    ],
)
@pytest.mark.parametrize("jobs", [1, 2])
def test_bad_data_leave_no_store(fault, sentence, jobs):
    with pytest.raises(UserError, match=sentence):
        prepared(fault=fault, jobs=jobs)
    assert list(store_root().iterdir()) == []


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_mistake_of_a_plugin_is_told_and_leaves_no_store(jobs):
    with pytest.raises((ZeroDivisionError, UserError), match="a mistake of the plugin's"):
        prepared(fault="bug", jobs=jobs)
    assert list(store_root().iterdir()) == []


@pytest.mark.usefixtures("workers")
def test_what_is_done_is_kept_when_a_worker_is_killed():
    with pytest.raises(
        UserError, match=r"SIGKILL \(out of memory\?\); where memory is short, fewer --jobs .* are prepared and kept"
    ):
        prepared(fault="killed", jobs=2)
    [left] = store_root().iterdir()
    assert left.name.endswith(".building")
    assert list((left / "volumes").glob("*.json"))


def test_files_that_change_while_they_are_read_leave_no_store(monkeypatch):
    said = iter(["before", "after"])
    monkeypatch.setattr(type(load_dataset("toy")), "fingerprint", lambda _: next(said))
    with pytest.raises(UserError, match="files of dataset 'toy' changed while they were prepared"):
        prepared()
    assert list(store_root().iterdir()) == []


@pytest.mark.parametrize("store_dtype", ["complex64", "float16-pair"])
@pytest.mark.parametrize("kind", ["hr", "lr"])
def test_a_damaged_store_is_noticed_and_built_again(kind, store_dtype):
    class Warnings(Listener):
        def __init__(self):
            self.said = []

        def warning(self, message):
            self.said.append(message)

    def build():
        warnings = Warnings()
        preparation = Preparation(store_dtype=store_dtype)
        [one] = prepare(load_dataset("toy"), MCSR_1, [2], preparation=preparation, listener=warnings)
        return one, [text for text in warnings.said if "damaged" in text]

    one, said = build()
    assert said == []
    folder = getattr(one.store.volumes["p03-v0"], f"{kind}_folder")
    sound = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    damages = [
        (folder / "target/00003.npy", lambda path: path.write_bytes(sound[path][:-8])),
        (folder / "auxiliary/00003.npy", Path.unlink),
        (folder / "index.json", lambda path: path.write_bytes(sound[path][:100])),
        (folder / "index.json", Path.unlink),
    ]
    if store_dtype == "float16-pair":
        damages.append((folder / "auxiliary/00003.scale.npy", Path.unlink))
    for path, damage in damages:
        damage(path)
        with pytest.raises(UserError, match="or damaged: run the experiment again"):
            open_store(one.store.key)
        _, said = build()
        assert [text for text in said if str(folder) in text] == [
            f"the prepared data {folder} are damaged: they are built again"
        ]
        assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == sound


def test_a_half_built_store_is_never_used(cache):
    [one] = prepared()
    key = one.store.key
    (one.store.volumes["p00-v0"].lr_folder / "index.json").unlink()
    with pytest.raises(UserError, match="run the experiment again"):
        open_store(key)
    leftover = store_root() / f".{key}.abc.tmp"
    leftover.mkdir()
    assert key not in [p.name for p in store_root().iterdir() if (p / "index.json").is_file()]


def test_two_processes_may_build_it_at_once(cache):
    code = (
        "from pathlib import Path; import sys\n"
        "from mcsr_bench.plugin.registry import add_plugins; add_plugins(Path(sys.argv[1]))\n"
        "from mcsr_bench.data.prepare import prepare; from mcsr_bench.plugin.loading import load_dataset\n"
        "from mcsr_bench.protocol import MCSR_1\n"
        "[p] = prepare(load_dataset('toy'), MCSR_1, [2]); print(float(abs(p.store.volumes['p07-v0'].target).sum()))"
    )
    start = [sys.executable, "-c", code, str(TOYS)]
    processes = [subprocess.Popen(start, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [p.communicate(timeout=120)[0] for p in processes]
    assert [p.returncode for p in processes] == [0, 0]
    assert outputs[0] == outputs[1] != ""
    assert [p.name for p in store_root().iterdir() if p.name.startswith(".")] == []


def test_files_are_replaced_in_one_move_and_temporary_names_vanish(tmp_path):
    path = tmp_path / "a" / "x.json"
    files.write_json(path, {"b": 1, "a": [1, 2]})
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(path, {"a": float("nan")})
    assert files.read_json(path) == {"a": [1, 2], "b": 1}
    assert [p.name for p in path.parent.iterdir()] == ["x.json"]
    assert files.digest({"a": 1, "b": 2}) == files.digest({"b": 2, "a": 1}) != files.digest({"a": 1, "b": 3})
