"""The training loop: bit-identical after any kill, best weights by validation, schedules, byte-identical files."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import mcsr_bench as mb
from mcsr_bench import load_method, training
from mcsr_bench.data.prepare import prepare
from mcsr_bench.data.sampler import Sampler
from mcsr_bench.plugin.loading import load_dataset
from mcsr_bench.plugin.registry import add_plugins
from mcsr_bench.protocol import MCSR_1
from mcsr_bench.training import Loop, schedule_factor
from mcsr_bench.weights.tensors import load_tensors, save_tensors

TOYS = Path(__file__).parent / "toys"


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("MCSR_BENCH_CACHE", str(tmp_path / "cache"))
    add_plugins(TOYS)
    [prepared] = prepare(load_dataset("toy"), MCSR_1, [2])
    return Sampler(prepared.store, prepared.split, MCSR_1, seed=3)


def toynet(**settings):
    return load_method("toynet", 2, "quick", seed=3, **settings)


def same(one, two):
    return one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)


class KilledError(Exception):
    pass


def train(data, folder, *, kill_at=None, **settings):
    def report(step, steps, detail):
        if step == kill_at:
            raise KilledError

    folder.mkdir(exist_ok=True)
    method = toynet(**settings)
    method.train(data, Loop(folder, seed=3, key="k", report=report, checkpoint_every=4))
    return method


@pytest.mark.parametrize("optimizer", ["adam", "rmsprop"])
@pytest.mark.parametrize("kill_at", [1, 4, 10, 17, 29, 30])
def test_a_killed_run_ends_with_the_weights_of_an_uninterrupted_one(data, tmp_path, kill_at, optimizer):
    straight = train(data, tmp_path / "a", optimizer=optimizer)
    with pytest.raises(KilledError):
        train(data, tmp_path / "b", kill_at=kill_at, optimizer=optimizer)
    resumed = train(data, tmp_path / "b", optimizer=optimizer)
    assert same(straight.state(), resumed.state())
    for name in ("training.csv", "checkpoint.safetensors"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.slow
def test_sigkill_in_a_real_process(data, tmp_path):
    """Killed from outside in the middle of writing and stepping, several times; then the same weights, byte for byte."""
    code = (
        "import sys; from pathlib import Path\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "from mcsr_bench.plugin.registry import add_plugins; add_plugins(Path(sys.argv[2]))\n"
        "import torch; torch.set_num_threads(1)\n"
        "from mcsr_bench import load_method; from mcsr_bench.data.prepare import prepare\n"
        "from mcsr_bench.plugin.loading import load_dataset; from mcsr_bench.protocol import MCSR_1\n"
        "from mcsr_bench.data.sampler import Sampler; from mcsr_bench.training import Loop\n"
        "from mcsr_bench.weights.tensors import save_weights\n"
        "[p] = prepare(load_dataset('toy'), MCSR_1, [2])\n"
        "folder = Path(sys.argv[3]); folder.mkdir(exist_ok=True)\n"
        "m = load_method('toynet', 2, 'quick', seed=3, budget=300)\n"
        "m.train(Sampler(p.store, p.split, MCSR_1, 3), Loop(folder, seed=3, key='k', checkpoint_every=3))\n"
        "save_weights(m, folder / 'weights.safetensors', {})\n"
    )

    def start(folder):
        arguments = [sys.executable, "-c", code, str(Path.cwd()), str(TOYS), str(folder)]
        return subprocess.Popen(
            arguments, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )

    checkpoint = tmp_path / "b" / "checkpoint.safetensors"
    for _ in range(2):
        before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        process = start(tmp_path / "b")
        while not checkpoint.exists() or checkpoint.stat().st_mtime_ns == before:
            assert process.poll() is None
            time.sleep(0.01)
        time.sleep(0.1)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    assert not (tmp_path / "b" / "weights.safetensors").exists()
    for name in ("a", "b"):
        process = start(tmp_path / name)
        process.communicate(timeout=120)
        assert process.returncode == 0
    weights = [(tmp_path / name / "weights.safetensors").read_bytes() for name in ("a", "b")]
    assert weights[0] == weights[1]


def test_a_checkpoint_of_another_training_is_not_resumed(data, tmp_path):
    train(data, tmp_path / "a")
    method = toynet()
    before = {k: v.clone() for k, v in method.state().items()}
    steps = []
    method.train(data, Loop(tmp_path / "a", seed=3, key="other", report=lambda *a: steps.append(a[0])))
    assert steps[0] == 1
    assert not same(before, method.state())


def test_training_lowers_the_loss_and_keeps_the_best_validation_weights(data, tmp_path):
    import pandas as pd

    method = train(data, tmp_path / "a", budget=200, validations=10)
    log = pd.read_csv(tmp_path / "a" / "training.csv")
    assert log["loss"].iloc[-5:].mean() < 0.7 * log["loss"].iloc[:5].mean()
    best = log["validation_psnr"].max()
    assert training.validation_psnr(method, data, "cpu") == pytest.approx(best, abs=1e-7)  # the CSV holds ten digits


def test_validation_psnr_is_the_mean_over_volumes_of_a_hand_written_psnr(data):
    method = toynet()
    volumes = {}
    for batch in data.validation():
        prediction = method.predict(batch.without_target()).double().numpy()
        volumes.setdefault(batch.patient_id[0], []).append(
            (prediction[0], np.abs(batch.target[0].numpy().astype(complex)))
        )
    scores = []
    for pairs in volumes.values():
        a, b = np.stack([p[0] for p in pairs]), np.stack([p[1] for p in pairs])
        scores.append(10 * np.log10(b.max() ** 2 / np.mean((a - b) ** 2)))
    assert training.validation_psnr(method, data, "cpu") == pytest.approx(np.mean(scores), abs=1e-9)


def log_of(path, column):
    lines = ["step,rate_factor,loss,validation_psnr"]
    lines += [f"{100 * (k + 1)},1.0,0.5,{'' if psnr is None else psnr}" for k, psnr in enumerate(column)]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_training_that_collapsed_says_so_and_a_sound_one_nothing(tmp_path):
    """Rows without a validation are between those with one."""
    [note] = training.collapse_notes(log_of(tmp_path / "fell.csv", [None, 27.04, None, 26.9, 12.3]))
    assert note.startswith("its training collapsed: validation PSNR fell from 27.0 dB at step 200 to 12.3 at step 500;")
    assert "its weights are the best, of step 200" in note
    [note] = training.collapse_notes(log_of(tmp_path / "rose again.csv", [20.0, 28.46, 2.73, 11.6, 28.6]))
    assert "fell from 28.5 dB at step 200 to 2.7 at step 300; its weights are the best, of step 500" in note
    for name, column in {"wavers": [26.0, 27.0, 25.1], "rises": [20.0, None, 26.1], "never validated": [None]}.items():
        assert training.collapse_notes(log_of(tmp_path / f"{name}.csv", column)) == []
    assert training.collapse_notes(tmp_path / "there is none.csv") == []
    (tmp_path / "own.csv").write_text("step,loss\n1,0.5\n")  # of a loop of a plugin's own
    assert training.collapse_notes(tmp_path / "own.csv") == []


def test_the_record_of_a_trial_says_whether_its_training_collapsed(tmp_path, monkeypatch):
    monkeypatch.setenv("MCSR_BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("mcsr_bench.experiment.trial.collapse_notes", lambda log: [f"read from {log.name}"])
    mb.run(["toynet"], "toy", 2, preset="quick", plugins=TOYS, out=tmp_path / "run")
    [bundle] = mb.load_results(tmp_path / "run").bundles
    assert bundle.record.notes == ["read from training.csv"]


def test_another_seed_gives_other_weights(data, tmp_path):
    one = train(data, tmp_path / "a")
    (tmp_path / "b").mkdir()
    two = load_method("toynet", 2, "quick", seed=4)
    two.train(data, Loop(tmp_path / "b", seed=4))
    assert not same(one.state(), two.state())


def test_a_loss_that_is_not_finite_ends_the_training(data, tmp_path):
    with pytest.raises(FloatingPointError, match="not finite at step 1"):
        train(data, tmp_path / "a", fault="nan")


def test_schedules_by_hand():
    settings = toynet(schedule="step", decay_every=10, decay_factor=0.1).settings
    assert [schedule_factor(settings, s, 30, 7) for s in (0, 9, 10, 19, 20)] == pytest.approx([1, 1, 0.1, 0.1, 0.01])
    epochs = settings.model_copy(update={"budget_unit": "epochs"})
    assert [schedule_factor(epochs, s, 700, 7) for s in (69, 70)] == pytest.approx([1, 0.1])
    cosine = settings.model_copy(update={"schedule": "cosine"})
    assert [schedule_factor(cosine, s, 100, 7) for s in (0, 50)] == pytest.approx([1, 0.5])


def test_an_epoch_sees_every_slice_once_and_budget_in_epochs_counts_them(data, tmp_path):
    per_epoch = data.steps_per_epoch(3)
    assert per_epoch == -(-data.n_train_slices // 3)
    for epoch in (0, 1):
        seen = []
        for step in range(epoch * per_epoch, (epoch + 1) * per_epoch):
            batch = data.batch(step, batch_size=3, patch=0, augment="none")
            seen += list(zip(batch.volume_id, batch.slice_index, strict=True))
        assert len(seen) == len(set(seen)) == data.n_train_slices
    steps = []
    method = toynet(budget=2, budget_unit="epochs", batch_size=3)
    (tmp_path / "a").mkdir()
    method.train(data, Loop(tmp_path / "a", seed=3, report=lambda *a: steps.append(a[0])))
    assert len(steps) == 2 * per_epoch


def test_batches_depend_on_seed_and_step_alone(data):
    one = data.batch(5, batch_size=2, patch=4, augment="dihedral")
    data.batch(9, batch_size=2, patch=4, augment="dihedral")
    two = data.batch(5, batch_size=2, patch=4, augment="dihedral")
    assert torch.equal(one.target_lr, two.target_lr)
    assert one.target_lr.shape == (2, 4, 4)
    assert one.target.shape == one.auxiliary.shape == (2, 8, 8)


def test_augmented_pairs_still_belong_together(data):
    """LR degraded again from the augmented HR equals the augmented LR, outside the Nyquist lines."""
    from mcsr_bench import kspace

    for step in range(8):
        batch = data.batch(step, batch_size=1, patch=0, augment="dihedral")
        one = kspace.to_kspace(MCSR_1.degrade(batch.target, 2))
        two = kspace.to_kspace(batch.target_lr)
        torch.testing.assert_close(one[..., 1:, 1:], two[..., 1:, 1:], atol=1e-4, rtol=1e-4)


def test_patches_of_lr_and_hr_show_the_same_place(data):
    whole = next(iter(data.validation()))
    patch = whole.crop(torch.tensor([2]), torch.tensor([5]), 4)
    assert torch.equal(patch.target_lr[0], whole.target_lr[0, 2:6, 5:9])
    assert torch.equal(patch.target[0], whole.target[0, 4:12, 10:18])
    assert torch.equal(patch.auxiliary[0], whole.auxiliary[0, 4:12, 10:18])
    torch.testing.assert_close(patch.target_lr_magnitude, whole.target_lr_magnitude[:, 2:6, 5:9])


def test_equal_tensors_give_equal_bytes_whatever_their_order(tmp_path):
    a, b = torch.randn(3, 4), torch.randn(2).double()
    save_tensors(tmp_path / "1", {"a": a, "b": b}, {"x": 1, "y": [2]})
    save_tensors(tmp_path / "2", {"b": b, "a": a}, {"y": [2], "x": 1})
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()
    tensors, info = load_tensors(tmp_path / "1")
    assert torch.equal(tensors["a"], a)
    assert info == {"x": 1, "y": [2]}


def test_damaged_weights_are_refused_with_a_sentence(tmp_path):
    from mcsr_bench.errors import UserError

    (tmp_path / "w").write_bytes(b"\x80\x04pickle")
    with pytest.raises(UserError, match="cannot be read as safetensors"):
        load_tensors(tmp_path / "w")


def test_whichever_bit_is_flipped_the_tensors_are_refused_or_what_they_were(tmp_path):
    from mcsr_bench.errors import UserError

    tensors = {
        "a": torch.arange(4.0).reshape(2, 2),
        "b": torch.tensor(3, dtype=torch.int64),
        "c": torch.tensor([1 + 2j], dtype=torch.complex64),
        "d": torch.tensor([True, False]),
        "e": torch.ones(2, dtype=torch.bfloat16),
        "f": torch.zeros(0),
    }
    path = tmp_path / "w"
    save_tensors(path, tensors, {"key": "k", "rate": 0.1})
    sound, noticed = path.read_bytes(), 0
    for position in range(0, len(sound), 3):
        path.write_bytes(sound[:position] + bytes([sound[position] ^ 1]) + sound[position + 1 :])
        try:
            found, info = load_tensors(path)
        except UserError:
            noticed += 1
        else:  # of spaces in the header, or of the checksum's own name
            assert info["key"] == "k"
            assert info["rate"] == 0.1
            assert found.keys() == tensors.keys()
            assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())
    assert noticed > 0.3 * len(sound)
