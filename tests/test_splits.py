"""Splits as files: written, read back the same, and refused where they leak; folds that test everybody once."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mcsr_bench as mb
from mcsr_bench.api import experiment_spec
from mcsr_bench.data.manifest import folds, manifest, read_split, split_of, write_manifest
from mcsr_bench.errors import UserError
from mcsr_bench.experiment.run import run_experiment
from mcsr_bench.plugin.case import Case
from mcsr_bench.plugin.loading import load_dataset
from mcsr_bench.plugin.registry import add_plugins
from mcsr_bench.plugin.split import Split, split_by_patient
from mcsr_bench.protocol import MCSR_1, SANET_2021

TOYS = Path(__file__).parent / "toys"


@pytest.fixture
def toy():
    add_plugins(TOYS)
    return load_dataset("toy")


def changed(path, toy, **changes):
    made = manifest(toy, toy.split(toy.cases(), MCSR_1), toy.cases()).model_dump(mode="json")
    path.write_text(json.dumps({**made, **changes}))
    return path


def clinic(toy, *ids, volumes=1):
    """The toy dataset with patients of these ids, in this order, each with so many volumes."""
    cases = [Case(name, f"v{i}-{k}", 1, (32, 32)) for i, name in enumerate(ids) for k in range(volumes)]
    toy.cases = lambda: cases
    return cases


def test_a_split_comes_back_from_its_file(toy, tmp_path):
    cases = toy.cases()
    split = toy.split(cases, MCSR_1)
    write_manifest(tmp_path / "s.json", manifest(toy, split, cases))
    assert read_split(tmp_path / "s.json", toy, cases) == split
    assert toy.findings == []
    # one that somebody wrote by hand needs no hash, and says that it is one
    by_hand = read_split(changed(tmp_path / "s.json", toy, hash=""), toy, cases)
    assert by_hand.rule == f"from a file: {split.rule}"
    assert toy.findings == []


def test_patients_that_the_file_leaves_out_are_left_out_and_marked(toy, tmp_path):
    split = read_split(
        changed(tmp_path / "s.json", toy, train=["p00"], validation=["p01"], test=["p02"], hash=""), toy, toy.cases()
    )
    assert (split.train, split.validation, split.test) == (("p00-v0",), ("p01-v0",), ("p02-v0",))
    [finding] = toy.findings
    assert finding.marks
    assert "7 of 10 patients" in finding.message


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"train": ["p00", "p01"], "test": ["p01"], "validation": ["p02"]}, "patient 'p01' is in both train and test"),
        ({"train": ["p00", "p00"], "test": ["p01"], "validation": ["p02"]}, "patient 'p00' is in train twice"),
        ({"train": ["p77"]}, "patient 'p77' of train is not in dataset 'toy'$"),
        ({"train": [" P03"]}, "patient ' P03' of train is not in dataset 'toy', which has 'p03'"),
        ({"left_out": ["p00-v9"]}, "case 'p00-v9' of left_out is not in dataset 'toy'"),
        ({"dataset": "knee"}, "is of dataset 'knee'"),
        ({"test": []}, "no test cases"),
        ({"patient_disjoint": False}, "never taken from a file"),
        ({"schema_version": 2}, "not a manifest of a split"),
        ({"extra": 1}, "not a manifest of a split"),
        ({"train": "p00"}, "not a manifest of a split"),
    ],
)
def test_bad_manifests_get_a_sentence(toy, tmp_path, changes, sentence):
    with pytest.raises(UserError, match=sentence):
        read_split(changed(tmp_path / "s.json", toy, **changes), toy, toy.cases())


@pytest.mark.parametrize("changes", [{"train": ["p00", "p01"]}, {"rule": "as the paper has it"}, {"hash": "0" * 12}])
def test_a_manifest_that_does_not_give_its_hash_is_said_and_marked(toy, tmp_path, changes):
    made = manifest(toy, toy.split(toy.cases(), MCSR_1), toy.cases())
    split = read_split(changed(tmp_path / "s.json", toy, **changes), toy, toy.cases())
    [finding] = [f for f in toy.findings if f.code == "split-changed"]
    assert finding.marks
    assert changes.get("hash", made.hash) in finding.message
    assert split.rule == f"from a file that was changed: {changes.get('rule', made.rule)}"
    # what that split is written as is whole again, and says for good where it came from
    toy.findings.clear()
    write_manifest(tmp_path / "again.json", manifest(toy, split, toy.cases()))
    assert read_split(tmp_path / "again.json", toy, toy.cases()) == split
    assert not [f for f in toy.findings if f.code == "split-changed"]


def test_data_that_are_not_those_the_split_was_made_on_are_noticed(toy, tmp_path):
    clinic(toy, "a", "b", "c", "d")
    write_manifest(tmp_path / "s.json", manifest(toy, toy.split(toy.cases(), MCSR_1), toy.cases()))
    read_split(tmp_path / "s.json", toy, toy.cases())
    assert toy.findings == []
    clinic(toy, "a", "b", "c", "d", volumes=2)  # the same patients, and another volume of each
    read_split(tmp_path / "s.json", toy, toy.cases())
    assert [f.code for f in toy.findings] == ["split-changed"]


def test_volumes_that_a_split_leaves_out_stay_out_when_it_is_taken_from_its_file(toy, tmp_path):
    """As fastMRI's lists: a train pair of a patient who is tested is in no part."""
    cases = clinic(toy, "a", "b", "c", volumes=2)
    split = Split(("v0-0", "v0-1"), ("v1-0", "v1-1"), ("v2-1",), "lists")
    split.check(cases)
    write_manifest(tmp_path / "s.json", manifest(toy, split, cases))
    back = read_split(tmp_path / "s.json", toy, cases)
    assert (back.train, back.validation, back.test) == (split.train, split.validation, split.test)
    assert toy.findings == []


@pytest.mark.parametrize("other", ["p01", " P01", "P 01", "Ｐ01"])
def test_one_patient_under_two_spellings_is_noticed_where_it_matters(toy, tmp_path, other):
    clinic(toy, "P01", "b", "c", other)
    taken = {"train": ["P01"], "validation": ["b"], "test": ["c", other], "hash": ""}
    split = split_of(toy, toy.cases(), MCSR_1, changed(tmp_path / "s.json", toy, **taken))
    assert split.train == ("v0-0",)
    [finding] = toy.findings
    assert (finding.code, finding.marks) == ("patients-alike", True)
    assert f"patient 'P01' of train and patient {other!r} of test" in finding.message
    toy.findings.clear()
    taken |= {"train": ["P01", other], "test": ["c"]}
    split_of(toy, toy.cases(), MCSR_1, changed(tmp_path / "s.json", toy, **taken))
    assert toy.findings == [], "in one part they do no harm"


def test_a_protocol_that_validates_on_the_test_part_does_so_with_a_split_from_a_file(toy, tmp_path):
    path = changed(tmp_path / "s.json", toy)
    plain = split_of(toy, toy.cases(), MCSR_1, path)
    split = split_of(toy, toy.cases(), SANET_2021, path)
    assert (split.train, split.validation, split.test) == (plain.train, plain.test, plain.test)
    assert not split.patient_disjoint
    assert "validation = test, as protocol sanet-2021 has it" in split.rule


def test_files_that_are_none_get_a_sentence(toy, tmp_path):
    with pytest.raises(UserError, match="no such file"):
        read_split(tmp_path / "none.json", toy, toy.cases())
    (tmp_path / "bad.json").write_bytes(b"\xff\x00{")
    with pytest.raises(UserError, match="not readable as JSON"):
        read_split(tmp_path / "bad.json", toy, toy.cases())


def test_a_run_writes_its_split_and_takes_it_again(here, tmp_path):
    command = ("run", "--methods", "zerofill", "--dataset", "toy", "--plugins", TOYS, "--preset", "smoke", "--scale", 2)
    first = here(*command, "--out", tmp_path / "a")
    assert first.returncode == 0, first.stderr
    [path] = (tmp_path / "a").glob("toy*/split.json")
    made = json.loads(path.read_text())
    test = mb.load_results(tmp_path / "a").volumes["patient_id"]
    assert set(made["test"]) == set(test)
    swapped = tmp_path / "swapped.json"
    swapped.write_text(json.dumps({**made, "test": made["validation"], "validation": made["test"]}))
    again = here(*command, "--split", swapped, "--out", tmp_path / "b")
    assert again.returncode == 0, again.stderr
    results = mb.load_results(tmp_path / "b")
    assert set(results.volumes["patient_id"]) == set(made["validation"])
    assert results.records[0].data.split_rule.startswith("from a file")
    assert results.records[0].key != mb.load_results(tmp_path / "a").records[0].key
    # the same split, read from its file, goes on with what is there
    same = here(*command, "--split", path, "--out", tmp_path / "a")
    assert "1 of 1 trials are there from an earlier run" in same.stderr
    # another split's results never stand beside the first one's, nor is its manifest written there
    other = here(*command, "--methods", "bicubic", "--split", swapped, "--out", tmp_path / "a")
    assert other.returncode == 2
    assert "holds a finished trial with another split than this run's; choose another --out" in other.stderr
    assert here(*command, "--split", swapped, "--out", tmp_path / "a").returncode == 2
    assert json.loads(path.read_text()) == made
    assert not list((tmp_path / "a").rglob("bicubic"))
    fresh = here(*command, "--split", swapped, "--out", tmp_path / "a", "--fresh")
    assert fresh.returncode == 0, fresh.stderr
    assert json.loads(path.read_text())["test"] == made["validation"]
    two = here(*command, "--dataset", "toy,brain-sim", "--split", swapped, "--out", tmp_path / "c")
    assert two.returncode == 2
    assert "is for one dataset" in two.stderr


@given(st.integers(3, 12), st.integers(3, 12), st.integers(0, 3), st.integers(1, 3))
def test_folds_test_every_patient_once_and_never_share_one(patients, k, seed, volumes):
    cases = [Case(f"p{i}", f"p{i}-{v}", 1, (8, 8)) for i in range(patients) for v in range(volumes)]
    if k > patients:
        with pytest.raises(UserError, match="--folds"):
            folds(cases, k, seed)
        return
    made = folds(cases, k, seed)
    assert sorted(v for split in made for v in split.test) == sorted(c.volume_id for c in cases)
    for split in made:
        split.check(cases)
    assert [s.hash for s in made] == [s.hash for s in folds(list(reversed(cases))[::-1], k, seed)]


def test_a_cross_validation_is_folds_in_files_that_run_takes(here, tmp_path):
    made = here("prepare", "--dataset", "toy", "--plugins", TOYS, "--folds", 3, "--to", tmp_path / "folds")
    assert made.returncode == 0, made.stderr
    paths = [tmp_path / "folds" / f"fold{i}.json" for i in (1, 2, 3)]
    assert made.stdout.splitlines() == list(map(str, paths))
    for path in paths:
        usual = {"preset": "smoke", "seeds": 0, "plugins": TOYS, "jobs": 1}
        spec = experiment_spec("zerofill", "toy", 2, **usual, split=path, out=tmp_path / path.stem)
        results, _ = run_experiment(spec)
        assert results.records[0].data.marks == []
    scores = mb.load_results(*(tmp_path / path.stem for path in paths)).volumes
    assert sorted(scores["patient_id"]) == [f"p{i:02d}" for i in range(10)]  # everybody, once


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--folds", 3), "--folds and --to go together"),
        (("--folds", 11, "--to", "new"), "--folds 11: between 3 and the number of patients (10) is allowed"),
        (("--folds", 3, "--to", "."), "is not a folder of 3 folds"),
        (("--folds", 3, "--to", "new", "--split", "s.json"), "--folds 3 makes splits of its own"),
        (("--folds", 3, "--to", "new", "--dataset", "toy,brain-sim"), "is for one dataset"),
    ],
)
def test_folds_that_cannot_be_written_leave_nothing(here, tmp_path, monkeypatch, arguments, sentence):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.txt").write_text("x")
    done = here("prepare", "--dataset", "toy", "--plugins", TOYS, *arguments)
    assert done.returncode == 2
    assert sentence in done.stderr
    assert [p.name for p in tmp_path.iterdir() if p.name != "cache"] == ["mine.txt"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)
IDS = st.lists(st.sampled_from([f"p{i:02d}" for i in range(10)] + ["stranger", ""]), max_size=6)


@given(
    value=JSON
    | st.fixed_dictionaries(
        {"rule": st.text(max_size=5), "train": IDS, "validation": IDS, "test": IDS},
        optional={
            "patient_disjoint": st.booleans(),
            "dataset": st.sampled_from(["", "toy", "other"]),
            "hash": st.text(max_size=3),
            "left_out": st.lists(st.sampled_from(["p00-v0", "p01-v0", "x"]), max_size=2),
            "x": JSON,
        },
    )
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_manifest_gives_a_disjoint_split_or_a_sentence(toy, tmp_path, value):
    cases = toy.cases()
    toy.findings.clear()
    patient = {case.volume_id: case.patient_id for case in cases}
    path = tmp_path / "split.json"
    path.write_text(json.dumps(value))
    said = ""
    try:
        split = read_split(path, toy, cases)
    except UserError as error:
        said = str(error)
    assert said.isprintable()
    if said:
        return
    assert split.rule.isprintable()
    left_out = set(value.get("left_out", ()))
    assert not left_out & {*split.train, *split.validation, *split.test}
    parts = [{patient[v] for v in part} for part in (split.train, split.validation, split.test)]
    assert all(parts)
    assert sum(map(len, parts)) == len(set.union(*parts))
    named = [{p for p in value[name] if f"{p}-v0" not in left_out} for name in ("train", "validation", "test")]
    assert parts == named


@given(st.binary(max_size=60))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_as_a_manifest_give_a_sentence(toy, tmp_path, data):
    path = tmp_path / "split.json"
    path.write_bytes(data)
    with pytest.raises(UserError, match="--split"):
        read_split(path, toy, toy.cases())


@given(
    patients=st.lists(st.text("ab01", min_size=1, max_size=3), min_size=1, max_size=30),
    fractions=st.tuples(st.floats(0.01, 0.4), st.floats(0.01, 0.4)),
    seed=st.integers(0, 99),
)
def test_a_split_by_patient_is_disjoint_whole_and_blind_to_order(patients, fractions, seed):
    cases = [Case(p, f"{p}-{k}", 1, (8, 8)) for k, p in enumerate(patients)]
    shares = (1 - sum(fractions), *fractions)
    n = len(set(patients))
    if n < 3:
        with pytest.raises(UserError, match="at least 3 patients"):
            split_by_patient(cases, shares, seed, "r")
        return
    split = split_by_patient(cases, shares, seed, "r")
    split.check(cases)  # no part is empty, either
    assert sorted((*split.train, *split.validation, *split.test)) == sorted(c.volume_id for c in cases)
    again = split_by_patient(cases[::-1], shares, seed, "r")
    assert [set(part) for part in (split.train, split.test)] == [set(part) for part in (again.train, again.test)]


@pytest.mark.parametrize(
    ("patients", "shares", "sizes"),
    [
        (4, (0.25, 0.375, 0.375), (1, 1, 2)),  # 1.5 patients twice, both rounded up
        (3, (0.2, 0.4, 0.4), (1, 1, 1)),
        (4, (0.2, 0.4, 0.4), (1, 1, 2)),  # 1.6 twice
        (3, (0.7, 0.1, 0.2), (1, 1, 1)),
        (10, (0.7, 0.1, 0.2), (7, 1, 2)),
        (60, (0.7, 0.1, 0.2), (42, 6, 12)),
    ],
)
def test_no_part_takes_the_last_patient_of_another(patients, shares, sizes):
    cases = [Case(f"p{i:02d}", f"p{i:02d}-v", 1, (8, 8)) for i in range(patients)]
    split = split_by_patient(cases, shares, 0, "r")
    assert (len(split.train), len(split.validation), len(split.test)) == sizes
