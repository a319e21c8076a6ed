"""Files that are not a checkpoint of the method, or not safe to read: one sentence each, and nothing left behind."""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import Any

import pytest
import released_tables as tables
import torch

from mcsr_bench.errors import UserError
from mcsr_bench.weights.importing import MismatchError, import_weights
from mcsr_bench.weights.loading import load_method
from mcsr_bench.weights.tensors import load_tensors


def refused(method: str, tmp_path: Path, file: Path | None = None, **options: Any) -> str:
    """The one sentence; nothing is left behind."""
    before = sorted(tmp_path.iterdir())
    with pytest.raises(UserError) as raised:
        import_weights(method, file or tmp_path / "theirs.pth", tmp_path / "bundle", **options)
    assert sorted(tmp_path.iterdir()) == before
    return str(raised.value)


def test_missing_tensor(tmp_path: Path) -> None:
    state = tables.small_sanet()
    del state["net2.final.weight"]
    torch.save(state, tmp_path / "theirs.pth")
    message = refused("sanet", tmp_path)
    assert "1 tensor of the network not in it: readout.target_final.weight (1x8x3x3)" in message
    outcome = import_weights("sanet", tmp_path / "theirs.pth", tmp_path / "bundle", partial=True)
    assert [str(e) for e in outcome.matching.missing] == ["readout.target_final.weight (1x8x3x3)"]
    assert any("not what was trained" in note for note in outcome.notes)
    fresh = load_method("sanet", 2, "released", **outcome.settings).state()["readout.target_final.weight"]
    tensors, _ = load_tensors(tmp_path / "bundle" / "weights.safetensors")
    assert torch.equal(tensors["readout.target_final.weight"], fresh)


def test_wrong_shape_and_unknown_name(tmp_path: Path) -> None:
    state = tables.small_sanet() | {
        "net2.csa.conv.weight": torch.zeros(1, 1, 5, 5, 5),
        "extra.weight": torch.zeros(2, 3),
    }
    torch.save(state, tmp_path / "theirs.pth")
    message = refused("sanet", tmp_path)
    assert "net2.csa.conv.weight (1x1x5x5x5, readout.target_attention.conv.weight has 1x1x3x3x3 here)" in message
    assert "extra.weight (2x3, unknown name)" in message
    with pytest.raises(MismatchError) as raised:
        import_weights("sanet", tmp_path / "theirs.pth", tmp_path / "bundle")
    assert len(raised.value.lines()) == 3
    outcome = import_weights("sanet", tmp_path / "theirs.pth", tmp_path / "bundle", partial=True)
    assert outcome.matching.left_over == 3


def test_wrong_method(tmp_path: Path) -> None:
    torch.save(tables.filled(tables.edsr_table(2, 8)), tmp_path / "theirs.pth")
    assert refused("minet", tmp_path).endswith("it looks like a checkpoint of edsr")
    torch.save(tables.small_sanet(), tmp_path / "theirs.pth")
    assert "it looks like a checkpoint of sanet" in refused("minet", tmp_path)
    assert "it looks like a checkpoint of sanet" in refused("edsr", tmp_path)
    assert "none of its tensors is known" in refused("edsr", tmp_path, partial=True)


def test_wrong_scale_and_settings(tmp_path: Path) -> None:
    torch.save(tables.small_sanet(4), tmp_path / "theirs.pth")
    assert "does not fit sanet at 2x" in refused("sanet", tmp_path, scale=2)
    assert "it fits at 4x" in refused("sanet", tmp_path, scale=2)
    assert "--scale 5: method 'sanet' has the scales" in refused("sanet", tmp_path, scale=5)
    assert "alpha must lie in 0..1" in refused("sanet", tmp_path, settings={"alpha": 2})
    assert "target_groups.4" in refused("sanet", tmp_path, settings={"groups": 5})
    assert import_weights("sanet", tmp_path / "theirs.pth", tmp_path / "bundle", scale=4).scale == 4


def test_scale_that_a_partial_file_does_not_tell(tmp_path: Path) -> None:
    state = {k: v for k, v in tables.small_sanet().items() if not k.startswith("tail")}
    torch.save(state, tmp_path / "theirs.pth")
    assert refused("sanet", tmp_path, partial=True).endswith("choose the scale with --scale")
    assert import_weights("sanet", tmp_path / "theirs.pth", tmp_path / "bundle", partial=True, scale=2).scale == 2


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("keep", [0, 30, 0.5, -4])
def test_truncated_file(keep: float, legacy: bool, tmp_path: Path) -> None:
    file = tmp_path / "theirs.pth"
    torch.save(tables.small_sanet(), file, _use_new_zipfile_serialization=not legacy)
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * keep) if isinstance(keep, float) else int(keep)])
    message = refused("sanet", tmp_path)
    assert message.startswith(f"{file}: not a PyTorch checkpoint, or truncated (")
    assert "\n" not in message


@pytest.mark.parametrize("name", ["theirs.pth", "theirs.safetensors"])
@pytest.mark.parametrize("content", [b"hello world\n", bytes(range(256)), b"\x80\x04", b"<html>404</html>"])
def test_a_file_of_another_kind(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    message = refused("sanet", tmp_path, tmp_path / name)
    assert message.startswith(f"{tmp_path / name}: ")
    assert "\n" not in message


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("method", ["sanet", "mcmrsr"])
def test_objects_are_never_unpickled(
    method: str, legacy: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file with an object is refused; the three lines of the sentence extract its tensors where the user trusts it."""
    hyper = argparse.Namespace(lr=1e-5)
    content = {{"sanet": "state_dict", "mcmrsr": "net_G_I"}[method]: tables.small_sanet(), "hyper_parameters": hyper}
    torch.save(content, tmp_path / "theirs.pth", _use_new_zipfile_serialization=not legacy)
    message = refused(method, tmp_path)
    assert "argparse.Namespace" in message
    lines = [line.strip() for line in message.splitlines()[1:]]
    assert len(lines) == 3
    monkeypatch.chdir(tmp_path)
    exec("\n".join(lines), {})
    assert import_weights("sanet", Path("tensors.pt"), tmp_path / "bundle").scale == 2


def test_code_in_a_file_does_not_run(tmp_path: Path) -> None:
    """A pickle that would make a folder as it is read."""
    trap = tmp_path / "trap"
    (tmp_path / "theirs.pth").write_bytes(f"cposix\nmkdir\n(S'{trap}'\ntR.".encode())
    assert "posix.mkdir" in refused("sanet", tmp_path)
    assert not trap.exists()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a part of torch that will go
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), tmp_path / "theirs.pth")
    assert "TorchScript" in refused("sanet", tmp_path)


def test_values_that_are_no_numbers(tmp_path: Path) -> None:
    state = tables.small_sanet()
    state["net1.head.0.weight"][0, 0, 0, 0] = torch.nan
    torch.save(state, tmp_path / "theirs.pth")
    assert refused("sanet", tmp_path).endswith("the tensor net1.head.0.weight holds NaN or Inf")
    state["net1.head.0.weight"] = torch.zeros(8, 1, 3, 3, dtype=torch.int64)
    torch.save(state, tmp_path / "theirs.pth")
    assert "of type torch.int64" in refused("sanet", tmp_path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (torch.zeros(3), "holds a Tensor, not tensors by name"),
        ({"epoch": 3, "lr": 0.1}, "holds no tensors by name (its keys: 'epoch', 'lr')"),
        ({}, "holds no tensors by name (its keys: none)"),
        ([1, 2], "holds a list"),
    ],
)
def test_content_without_tensors(content: Any, words: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "theirs.pth")
    assert words in refused("sanet", tmp_path)


def test_folders_and_methods(tmp_path: Path) -> None:
    torch.save(tables.small_sanet(), tmp_path / "theirs.pth")
    assert refused("zeng", tmp_path).startswith("method 'zeng' has no rules for checkpoints of its authors' code")
    assert refused("sanett", tmp_path) == (
        "no method 'sanett'; did you mean 'sanet'? (a method of your own needs --plugins PATH, the folder above its own)"
    )
    assert refused("sanet", tmp_path, tmp_path / "other.pth") == f"{tmp_path / 'other.pth'}: no such file"
    outcome = import_weights("sanet", tmp_path / "theirs.pth", tmp_path / "bundle")
    assert "is there already" in refused("sanet", tmp_path)
    (outcome.bundle / "weights.safetensors").rename(tmp_path / "ours.safetensors")
    (outcome.bundle / "import.json").unlink()
    outcome.bundle.rmdir()
    assert "mcsr-bench's own" in refused("sanet", tmp_path, tmp_path / "ours.safetensors")


def test_nothing_is_left_of_a_bundle_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, value: Any) -> None:
        raise OSError(28, "No space left on device", str(path))

    torch.save(tables.small_sanet(), tmp_path / "theirs.pth")
    monkeypatch.setattr("mcsr_bench.system.files.write_json", full)
    with pytest.raises(OSError, match="No space"):
        import_weights("sanet", tmp_path / "theirs.pth", tmp_path / "bundle")
    assert [p.name for p in tmp_path.iterdir()] == ["theirs.pth"]


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda: torch.eye(4).to_sparse(), "not dense (sparse_coo)"),
        (lambda: torch.eye(4).to_sparse_csr(), "not dense (sparse_csr)"),
        (lambda: torch.empty(4, 4, device="meta"), "without values (on the meta device)"),
        (lambda: torch.quantize_per_tensor(torch.eye(4), 0.1, 0, torch.qint8), "quantized (qint8)"),
    ],
)
@pytest.mark.parametrize("wrap", [lambda state: state, lambda state: {"state_dict": state}, lambda state: [state]])
@pytest.mark.filterwarnings("ignore")  # torch calls sparse CSR a beta feature, and quantization deprecated
def test_tensors_without_dense_values_are_named(tmp_path: Path, make: Any, kind: str, wrap: Any) -> None:
    torch.save(wrap(tables.small_sanet() | {"net2.final.weight": make()}), tmp_path / "theirs.pth")
    message = refused("sanet", tmp_path)
    assert message == (
        f"{tmp_path / 'theirs.pth'}: the tensor net2.final.weight is {kind}; only dense tensors with values are imported"
    )


def test_shapes_that_contradict_each_other_are_one_sentence_about_the_file(tmp_path: Path) -> None:
    """The width and the heads of a transformer come from two tensors, which no network can have together."""
    state = {
        "conv2d.conv_L1.weight": torch.zeros(7, 2, 3, 3),
        "layers.0.residual_group.blocks.0.attn.relative_position_bias_table": torch.zeros(225, 2),
    }
    torch.save(state, tmp_path / "theirs.pth")
    file = tmp_path / "theirs.pth"
    said = f"{file}: no mcmrsr has the shapes of its tensors: "
    assert refused("mcmrsr", tmp_path, scale=2) == said + "width 7 is not a multiple of heads 2"
    torch.save(state | {"conv2d.conv_L1.weight": torch.zeros(0, 2, 3, 3)}, file)
    assert refused("mcmrsr", tmp_path) == said + "width must be at least 1"
    with pytest.raises(UserError, match=r"--set mcmrsr\.width=0"):  # the user's own mistake is not the file's
        import_weights("mcmrsr", file, tmp_path / "bundle", settings={"width": 0})
