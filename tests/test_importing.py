"""Foreign checkpoints: every tensor finds its place, and the imported network computes what theirs does."""

from __future__ import annotations

import json
import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import published_mcmrsr
import pytest
import released_tables as tables
import torch
from safetensors.torch import save_file
from torch import Tensor

from mcsr_bench.errors import UserError
from mcsr_bench.plugin.method import TorchMethod
from mcsr_bench.plugin.registry import methods
from mcsr_bench.weights.importing import ImportOutcome, import_weights, released
from mcsr_bench.weights.loading import load_method
from mcsr_bench.weights.rules import read_rules
from mcsr_bench.weights.tensors import load_tensors, load_weights, read_info

MINET = "minet-x2-last_conv-fixed.csv"


def table_of(name: str) -> Any:
    if not (tables.FOLDER / name).is_file():
        pytest.skip(f"{name}: the tables of released names lie beside a development checkout only")
    return tables.read_table(name)


def imported(method: str, state: Any, tmp_path: Path, **options: Any) -> ImportOutcome:
    torch.save(state, tmp_path / "theirs.pth")
    return import_weights(method, tmp_path / "theirs.pth", tmp_path / "bundle", **options)


def network_of(outcome: ImportOutcome) -> torch.nn.Module:
    """The network of a bundle, built from its header alone."""
    info = read_info(outcome.bundle / "weights.safetensors")
    assert info is not None
    method = load_method(info.method, info.scale, info.preset, **info.settings)
    assert isinstance(method, TorchMethod)
    load_weights(method, outcome.bundle / "weights.safetensors")
    return method.network.eval()


def assert_roles(outcome: ImportOutcome, table: Any) -> None:
    """Every live name is used, every dead one reported, and their numbers are those of the table."""
    matching = outcome.matching
    names = {kind: {e.name for e in getattr(matching, kind)} for kind in ("matched", "dead", "missing", "unexpected")}
    assert not names["missing"]
    assert not names["unexpected"]
    roles = {role: {n for n, (_, r) in table.items() if r == role} for role in ("live", "dead", "buffer")}
    assert roles["live"] <= names["matched"] <= roles["live"] | roles["buffer"]
    assert roles["dead"] <= names["dead"] <= roles["dead"] | roles["buffer"]
    assert names["matched"] | names["dead"] == table.keys()
    size = {n: torch.Size(shape).numel() for n, (shape, _) in table.items()}
    assert matching.values["matched_parameters"] == sum(size[n] for n in roles["live"])
    assert matching.values["dead_parameters"] == sum(size[n] for n in roles["dead"])
    buffers = matching.values["matched_buffers"] + matching.values["dead_buffers"]
    assert buffers == sum(size[n] for n in roles["buffer"])


# --- names and shapes


@pytest.mark.parametrize(
    ("method", "name", "scale", "live", "total"),
    [
        ("sanet", "sanet-x2.csv", 2, 4_637_057, 11_413_707),
        ("sanet", "sanet-x4.csv", 4, 4_784_769, 11_856_843),
        ("minet", MINET, 2, 6_748_189, 10_920_971),
    ],
)
def test_every_name_of_the_released_tables(
    method: str, name: str, scale: int, live: int, total: int, tmp_path: Path
) -> None:
    """The counts are the published ones: with gradient, and all of them."""
    table = table_of(name)
    outcome = imported(method, tables.filled(table), tmp_path)
    assert (outcome.scale, outcome.preset, outcome.protocol) == (scale, "released", "sanet-2021")
    assert_roles(outcome, table)
    assert outcome.matching.values["matched_parameters"] == live
    assert live + outcome.matching.values["dead_parameters"] == total
    assert sum(p.numel() for p in network_of(outcome).parameters()) == live


@pytest.mark.parametrize(("name", "scale"), [("sanet-x2.csv", 2), ("sanet-x4.csv", 4)])
def test_the_table_by_hand_is_the_released_one(name: str, scale: int) -> None:
    assert table_of(name) == tables.sanet_table(64, 6, scale)


@pytest.mark.parametrize("scale", [2, 4])
@pytest.mark.parametrize("blocks", [1, 2])
def test_sanet_of_any_size(scale: int, blocks: int, tmp_path: Path) -> None:
    table = tables.sanet_table(8, blocks, scale)
    outcome = imported("sanet", tables.filled(table), tmp_path)
    assert_roles(outcome, table)
    assert (outcome.scale, outcome.settings["width"], outcome.settings["blocks"]) == (scale, 8, blocks)
    assert outcome.settings["groups"] == 4


@pytest.mark.parametrize(("blocks", "width", "factor"), [(16, 64, 1.0), (4, 64, 1.0), (2, 256, 0.1)])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_edsr_sizes_are_read_from_the_shapes(
    blocks: int, width: int, factor: float, scale: int, tmp_path: Path
) -> None:
    table = tables.edsr_table(blocks, width, scale)
    outcome = imported("edsr", tables.filled(table), tmp_path)
    assert_roles(outcome, table)
    assert outcome.scale == scale
    assert [outcome.settings[k] for k in ("blocks", "width", "residual_factor")] == [blocks, width, factor]
    assert any("summed over the three colours" in note for note in outcome.notes)
    assert any("averaged over its three colours" in note for note in outcome.notes)


# --- roles: the imported network against the forward pass on their names


def assert_same(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
    assert expected.std() > 1e-3


@pytest.mark.parametrize("scale", [2, 4])
def test_imported_sanet_computes_what_theirs_does(scale: int, tmp_path: Path) -> None:
    state = tables.small_sanet(scale, blocks=2)
    network = network_of(imported("sanet", state, tmp_path))
    auxiliary, low = torch.randn(1, 1, 5 * scale, 6 * scale), torch.randn(1, 1, 5, 6)
    with torch.no_grad():
        target, reproduced = network(auxiliary, low)
    expected = tables.run_sanet(state, auxiliary, low)
    assert_same(target, expected[0])
    assert_same(reproduced, expected[1])
    assert not torch.allclose(target, reproduced, rtol=0.1)


def test_imported_minet_computes_what_theirs_does(tmp_path: Path) -> None:
    """In the size of the table: all seven stages, the trailing convolution last."""
    state = tables.filled(table_of(MINET))
    network = network_of(imported("minet", state, tmp_path))
    auxiliary, low = torch.randn(1, 1, 8, 12), torch.randn(1, 1, 4, 6)
    with torch.no_grad():
        target, reproduced = network(auxiliary, low)
    expected = tables.run_minet(state, auxiliary, low)
    assert_same(target, expected[0])
    assert_same(reproduced, expected[1])


@pytest.mark.parametrize(
    ("bias", "output"), [("net1.final.bias", "auxiliary"), ("net2.final.bias", "target"), ("net2.csa.gamma", "target")]
)
def test_net1_is_the_auxiliary_and_net2_the_target(bias: str, output: str, tmp_path: Path) -> None:
    """One value more moves the output of its own branch alone."""
    state = tables.small_sanet()
    changed = {**state, bias: state[bias] + 0.5}
    auxiliary, low = torch.randn(1, 1, 8, 8), torch.randn(1, 1, 4, 4)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with torch.no_grad():
        before = network_of(imported("sanet", state, tmp_path / "a"))(auxiliary, low)
        after = network_of(imported("sanet", changed, tmp_path / "b"))(auxiliary, low)
    moved = {name: not torch.equal(x, y) for name, x, y in zip(("target", "auxiliary"), before, after, strict=True)}
    assert moved == {"target": output == "target", "auxiliary": output == "auxiliary"}


def test_the_last_convolution_reads_auxiliary_maps_first(tmp_path: Path) -> None:
    """With M_Int closed, H is the mean of one known map: number 1 is the auxiliary's second, number 5 the target's second."""
    state = tables.small_sanet()
    state["net2.la.gamma"] = torch.zeros(1)
    auxiliary, low = torch.randn(1, 1, 8, 8), torch.randn(1, 1, 4, 4)
    for number, branch in ((1, "auxiliary_groups"), (5, "target_groups")):
        kernel = torch.zeros_like(state["net2.last_conv.weight"])
        kernel[:, 8 * number : 8 * number + 8, 1, 1] = 1 / 8
        changed = {**state, "net2.last_conv.weight": kernel, "net2.last_conv.bias": torch.zeros(8)}
        (tmp_path / branch).mkdir()
        network: Any = network_of(imported("sanet", changed, tmp_path / branch))
        seen: dict[str, Tensor] = {}
        getattr(network, branch)[1].register_forward_hook(lambda m, i, o, s=seen: s.update(map=o))
        network.readout.reduce.register_forward_hook(lambda m, i, o, s=seen: s.update(integrated=o))
        with torch.no_grad():
            network(auxiliary, low)
        expected = seen["map"].mean(1, keepdim=True).expand_as(seen["integrated"])
        torch.testing.assert_close(seen["integrated"], expected)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_imported_edsr_computes_the_grey_image_of_theirs(scale: int, tmp_path: Path) -> None:
    """Grey values v in all three colours; ours sees (v - mean) / 51. Exact to the border: theirs pads after the mean shift."""
    state = tables.filled(tables.edsr_table(2, 8, scale))
    eye = torch.eye(3)[:, :, None, None]
    mean = 255 * torch.tensor([0.4488, 0.4371, 0.4040])
    state |= {"sub_mean.weight": eye, "add_mean.weight": eye, "sub_mean.bias": -mean, "add_mean.bias": mean}
    outcome = imported("edsr", state, tmp_path, settings={"residual_factor": 0.7})
    grey = 255 * torch.rand(1, 1, 24, 24)
    with torch.no_grad():
        found = 51 * network_of(outcome)((grey - mean.mean()) / 51) + mean.mean()
    assert_same(found, tables.run_edsr(state, grey.expand(-1, 3, -1, -1), 0.7).mean(1, keepdim=True))


def test_edsr_for_colours_without_a_mean_shift(tmp_path: Path) -> None:
    state = {k: v for k, v in tables.filled(tables.edsr_table(2, 8, 2)).items() if "mean" not in k}
    grey = 255 * torch.rand(1, 1, 7, 9)
    with torch.no_grad():
        found = 51 * network_of(imported("edsr", state, tmp_path))(grey / 51)
    assert_same(found, tables.run_edsr(state, grey.expand(-1, 3, -1, -1), 1.0).mean(1, keepdim=True))


def test_edsr_for_one_channel_is_taken_as_it_is(tmp_path: Path) -> None:
    state = tables.filled(tables.edsr_table(2, 8, 2, channels=1))
    outcome = imported("edsr", state, tmp_path)
    assert not any("colours" in note for note in outcome.notes)
    image = torch.randn(1, 1, 7, 9)
    with torch.no_grad():
        assert_same(network_of(outcome)(image), tables.run_edsr(state, image, 1.0))


# --- McMRSR


@pytest.mark.parametrize("scale", [2, 4])
def test_mcmrsr_of_the_released_table(scale: int, tmp_path: Path) -> None:
    """Everything is used, also what is idle at 2x and has no gradient here either; the scale must be said.

    That the imported network computes what theirs does: methods/test_mcmrsr_published.py, in the same names.
    """
    table = table_of(f"mcmrsr-x{scale}.csv")
    trained = {name: shape for name, (shape, role) in table.items() if role != "buffer"}
    assert trained == published_mcmrsr.shapes(60, 4, 6, 6, (12, 8, 4))
    content = {"net_G_I": tables.filled(table), "opt_G": {"state": {}, "param_groups": []}, "epoch": 3, "total_iter": 9}
    torch.save(content, tmp_path / "theirs.pth")
    with pytest.raises(UserError, match=re.escape("fits 2 and 4 equally well; choose the scale with --scale")):
        import_weights("mcmrsr", tmp_path / "theirs.pth", tmp_path / "bundle")
    outcome = import_weights("mcmrsr", tmp_path / "theirs.pth", tmp_path / "bundle", scale=scale)
    assert outcome.matching.complete
    assert outcome.matching.values["matched_parameters"] == 3_177_362
    assert outcome.matching.values["dead_parameters"] == 0
    assert {e.name for e in outcome.matching.dead} == {n for n, (_, role) in table.items() if role == "buffer"}
    idle = {e.ours for e in outcome.matching.matched if table[e.name][1] == "dead"}
    patterns = methods().card("mcmrsr").dead_at(scale)
    assert idle == {e.ours for e in outcome.matching.matched if any(fnmatchcase(e.ours, p) for p in patterns)}
    assert len(idle) == {2: 18, 4: 0}[scale]
    assert [outcome.settings[k] for k in ("width", "groups", "depth", "heads")] == [60, 4, 6, 6]
    assert outcome.settings["phase"] == "kept"


# --- wrappers


def wrapped(kind: str, state: dict[str, Tensor]) -> Any:
    if kind == "bare":
        return state
    if kind == "data-parallel":
        return {f"module.{k}": v for k, v in state.items()}
    lightning = {f"sanet.{k}": v for k, v in state.items()}
    if kind == "lightning":
        momentum = {"state": {0: {"step": 3, "square_avg": torch.zeros(2)}}, "param_groups": [{"lr": 1e-5}]}
        metric = {"NMSE.total": torch.zeros(1)}
        return {"epoch": 34, "state_dict": lightning | metric, "optimizer_states": [momentum], "callbacks": {}}
    return {"state_dict": {f"module.{k}": v for k, v in lightning.items()}}


@pytest.mark.parametrize("kind", ["bare", "data-parallel", "lightning", "both"])
def test_wrappers_come_off(kind: str, tmp_path: Path) -> None:
    state = tables.small_sanet()
    plain = {f"plain/{k}": v for k, v in state.items()}
    outcome = imported("sanet", wrapped(kind, state), tmp_path)
    assert_roles(outcome, tables.sanet_table())
    assert outcome.outside == (("NMSE.total",) if kind == "lightning" else ())
    tensors, _ = load_tensors(outcome.bundle / "weights.safetensors")
    for entry in outcome.matching.matched:
        assert torch.equal(tensors[entry.ours], plain[f"plain/{entry.name}"])


def test_safetensors_and_half_precision(tmp_path: Path) -> None:
    state = {k: v.half() if v.is_floating_point() else v for k, v in tables.small_sanet().items()}
    save_file(state, tmp_path / "theirs.safetensors")
    import_weights("sanet", tmp_path / "theirs.safetensors", tmp_path / "bundle")
    tensors, _ = load_tensors(tmp_path / "bundle" / "weights.safetensors")
    assert {t.dtype for t in tensors.values()} == {torch.float32, torch.int64}


# --- the bundle


def test_bundle_says_what_it_is_and_where_it_comes_from(tmp_path: Path) -> None:
    outcome = imported("sanet", tables.small_sanet(4), tmp_path)
    assert sorted(p.name for p in outcome.bundle.iterdir()) == ["import.json", "weights.safetensors"]
    info = read_info(outcome.bundle / "weights.safetensors")
    assert info is not None
    assert (info.method, info.scale, info.preset, info.protocol) == ("sanet", 4, "released", "sanet-2021")
    assert info.settings == outcome.settings
    assert info.settings["alpha_side"] == "auxiliary"
    assert info.origin["file"] == "theirs.pth"
    assert len(info.origin["sha256"]) == 64
    report = json.loads((outcome.bundle / "import.json").read_text())
    assert report["values"] == outcome.matching.values
    assert {e["name"] for e in report["matched"]} | {e["name"] for e in report["dead"]} == tables.small_sanet(4).keys()
    assert report["missing"] == report["unexpected"] == []
    assert any("third branch" in line for line in outcome.lines())
    again = import_weights("sanet", tmp_path / "theirs.pth", tmp_path / "again")
    for name in ("import.json", "weights.safetensors"):
        assert (again.bundle / name).read_bytes() == (outcome.bundle / name).read_bytes()


# --- the rules


def test_rules_of_every_method_are_in_order() -> None:
    """Presets that exist, and no rule that can never be the first to fit."""
    found = [name for name in methods().names() if (methods().plugins()[name].folder / "released.toml").is_file()]
    assert {"sanet", "minet", "edsr", "mcmrsr"} == set(found)
    for name in found:
        rules = released(name)
        assert rules.preset in methods().card(name).presets
        keys = [(r.theirs.pattern, r.shape, r.scales, r.needs) for r in rules.rename]
        assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('preset = "released"', "preset = 3", "preset"),
        ("theirs = 'net2", "theirs = '(net2", "theirs"),
        ('protocol = "sanet-2021"', 'protocol = "sanet-2022"', "sanet-2022"),
        ("[[dead]]", "[[dad]]", "dad"),
        ("preset =", "preset", "released.toml"),
    ],
)
def test_broken_rules_name_the_key(old: str, new: str, words: str, tmp_path: Path) -> None:
    text = (methods().plugins()["sanet"].folder / "released.toml").read_text()
    assert old in text
    (tmp_path / "released.toml").write_text(text.replace(old, new, 1))
    with pytest.raises(UserError, match=re.escape(words)):
        read_rules(tmp_path / "released.toml")
