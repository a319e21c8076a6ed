"""Every option of every command with empty, wrong, unwritable and absurd values: exit code 2, one sentence, nothing written."""

import shutil
from pathlib import Path

import fake_run as fake
import pytest
import torch

import mcsr_bench as mb
from mcsr_bench.api import experiment_spec
from mcsr_bench.experiment.kept import merged
from mcsr_bench.system import files

TOYS = Path(__file__).parent / "toys"
TOY = ("--dataset", "toy", "--plugins", TOYS, "--scale", "2")
LONG = "x" * 300
UNWRITABLE = ("", "FILE", "/proc/x", "/dev/null", "FILE/x", LONG)

RUN = {
    "--methods": ("", ",", " , "),
    "--dataset": (",",),
    "--scale": (",", "2,", "2.5", "99999999999999999999"),
    "--seeds": (",", "1.5", "4294967296", "99999999999999999999999"),
    "--preset": ("", "huge", "Quick"),
    "--suite": (",", "x"),
    "--protocol": ("", " "),
    "--data-root": ("", "/nope", "FILE"),
    "--split": ("FILE", "DIR", "/nope"),
    "--against": (",", "x", "zerofill@x"),
    "--register": ("x",),
    "--store-dtype": ("x",),
    "--set": ("", "=", "toy.=1", "toy.size=nan", "toy.patients=0"),
    "--jobs": ("-1", "x"),
    "--device": ("", "cuda:0", "cpu:0"),
    "--plugins": ("", "FILE"),
    "--out": UNWRITABLE,
}
PROFILE = {
    "--methods": ("", ",", "x"),
    "--scale": (",", "0", "-2", "7"),
    "--size": ("0", "-8", "7", "x"),
    "--preset": ("", "huge"),
    "--device": ("cuda:0",),
    "--set": ("zerofill.x=1", "edsr.width=1"),
}
TUNE = {
    "--method": ("", "zerofill"),
    "--dataset": (",",),
    "--folds": ("0", "1000"),
    "--trials": ("0",),
    "--scale": ("0",),
    "--preset": ("huge",),
    "--seed": ("-1", "4294967296"),
    "--device": ("cuda:0",),
    "--jobs": ("-1",),
    "--set": ("edsr.learning_rate=nan", "edsr.width=0"),
    "--to": ("", "FILE", "/proc/x"),
}
PREPARE = {
    "--dataset": (",",),
    "--scale": (",", "0"),
    "--jobs": ("-1",),
    "--register": ("x",),
    "--folds": ("3",),
    "--to": ("DIR",),
}
FOLDS = {"--folds": ("0", "-1", "1000"), "--to": ("", "FILE", "/proc/x")}
REPORT = {"--to": UNWRITABLE, "--against": ("", ",", "x"), "--formats": (",", "x"), "--plugins": ("/nope",)}
IMPORT = {"--to": ("", "FILE", "DIR"), "--scale": ("0", "-1", "7", "x"), "--set": ("x", "edsr.width=1")}
COMMANDS = {
    "run": (("run", *TOY, "--preset", "smoke", "--methods", "zerofill", "--jobs", 1, "--out", "NEW"), RUN),
    "profile": (("profile", "--methods", "zerofill", "--scale", 2, "--size", 16), PROFILE),
    "tune": (("tune", "--method", "edsr", *TOY, "--preset", "smoke", "--jobs", 1, "--to", "NEW"), TUNE),
    "prepare": (("prepare", *TOY), PREPARE),
    "prepare --check": (("prepare", *TOY, "--check"), PREPARE),
    "prepare --folds": (("prepare", *TOY[:-2], "--folds", 3, "--to", "NEW"), FOLDS),
    "report": (("report", "RESULTS", "--formats", "md", "--to", "NEW"), REPORT),
    "stress": (("stress", "RESULTS"), {"--device": ("", "cuda:0"), "--jobs": ("-1",)}),
    "import-weights": (("import-weights", "sanet", "WEIGHTS", "--to", "NEW"), IMPORT),
    "new": (("new", "method", "mine", "--to", "NEW"), {"--to": UNWRITABLE}),
    "fetch": (("fetch", "m4raw"), {"--to": ("", "FILE")}),
    "check": (
        ("check", "zerofill"),
        {"--data-root": ("", "/nope", "DIR"), "--set": ("x", "zerofill.x=1", "edsr.width=1")},
    ),
}
ARGUMENTS = (
    *(("report", x, "--to", "NEW") for x in ("", "FILE", "DIR", "/nope")),
    ("report", "RESULTS", "RESULTS", "--to", "NEW"),
    *(("stress", x) for x in ("", "FILE", "DIR", "/nope")),
    *(("import-weights", "sanet", x, "--to", "NEW") for x in ("", "FILE", "DIR", "/nope", "/dev/null")),
    *(("import-weights", x, "WEIGHTS", "--to", "NEW") for x in ("", "x", "zerofill")),
    *(("predict", "--from", x, "--target", "FILE", "--to", "NEW") for x in ("", "FILE", "DIR", "RESULTS", "/nope")),
    *(("new", "method", x, "--to", "NEW") for x in ("", "a/b", "A B", "..", "sanet", LONG)),
    *(("convert", x, "--patient-id", "p", "--to", "NEW") for x in ("", "a", "a=", "=b", "T1=/nope")),
    *(("fetch", x) for x in ("", "x", "m4raw")),
    *((command, x) for command in ("check", "list") for x in ("", "x")),
    *(
        ("info", *x)
        for x in (
            ("method", ""),
            ("x", "y"),
            ("method", "sanet", "--scale", 7),
            ("dataset", "brain-sim", "--preset", "q"),
        )
    ),
    *(
        ("info", "method", "sanet", "--json", *x)
        for x in (("--scale", 0), ("--preset", ""), ("--preset", "huge"), ("--set", "x"))
    ),
    ("info", "dataset", "brain-sim", "--json", "--preset", "quick"),
    ("info", "method", "zerofill", "--json", "--preset", "huge"),
)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with what the tables name: FILE, DIR, WEIGHTS, RESULTS."""
    root = tmp_path_factory.mktemp("absurd")
    (root / "FILE").write_text("x")
    (root / "DIR").mkdir()
    torch.save({"x": torch.zeros(2)}, root / "WEIGHTS")
    for method in ("zerofill", "bicubic"):
        fake.write_trial_of(root / "RESULTS", method, fake.draw(method, 8))
    spec = merged(experiment_spec(["zerofill", "bicubic"], scale=2, preset="small", out=root / "RESULTS"))
    files.write_json(root / "RESULTS" / "experiment.json", spec.model_dump(mode="json"))
    return root


def wrong(here, place, arguments):
    """What is not as it should be when the command gets these arguments; "" when all is."""
    before = sorted(place.rglob("*"))
    try:
        out = here(*arguments)
    except Exception as error:  # a traceback for the user
        return f"{arguments}: {error!r}"
    new = [path for path in sorted(place.rglob("*")) if path not in before]
    for path in new:
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
    told = [line for line in out.stderr.splitlines() if line.startswith("mcsr-bench: ")]
    by_typer = "Usage: " in out.stderr  # of a number that is none
    if out.returncode != 2 or new or not (len(told) == 1 or by_typer) or "Traceback" in out.stderr:
        return f"{arguments}: exit {out.returncode}, {out.stderr!r}, wrote {new}"
    return ""


@pytest.mark.parametrize("command", COMMANDS)
def test_absurd_values_of_options_get_a_sentence(here, place, monkeypatch, command):
    monkeypatch.chdir(place)
    usual, options = COMMANDS[command]
    found = [wrong(here, place, (*usual, option, value)) for option, values in options.items() for value in values]
    assert not list(filter(None, found))


def test_absurd_arguments_get_a_sentence(here, place, monkeypatch):
    monkeypatch.chdir(place)
    assert not list(filter(None, (wrong(here, place, arguments) for arguments in ARGUMENTS)))


def test_a_value_after_an_equals_sign_may_not_be_empty_either(here):
    assert here("list", "methods", "--plugins=").stderr == "mcsr-bench: --plugins: its value is empty\n"


@pytest.mark.parametrize(
    "call",
    [
        lambda: mb.load_method("zerofill", scale=2, preset="huge"),
        lambda: mb.profile("zerofill", 2, size=16, preset="huge"),
        lambda: mb.info("method", "bicubic", preset="huge"),
        lambda: mb.run("zerofill", "toy", 2, preset="huge", plugins=TOYS),
    ],
)
def test_a_preset_that_no_method_has_is_a_mistake_in_every_function(call):
    with pytest.raises(mb.UserError, match="--preset huge: no method has it; there are paper, quick, released, small"):
        call()


def test_interpolation_has_the_presets_of_the_others():
    for preset in ("quick", "small", "paper", "released", "smoke"):
        assert mb.load_method("zerofill", scale=2, preset=preset)


@pytest.mark.parametrize(
    "call", [lambda: mb.profile([], 2), lambda: mb.profile("zerofill", []), lambda: mb.run(methods=[])]
)
def test_nothing_asked_of_a_function_is_a_mistake(call):
    with pytest.raises(mb.UserError, match="is empty"):
        call()


def test_settings_that_contradict_each_other_are_named():
    with pytest.raises(mb.UserError) as raised:
        mb.load_method("mcmrsr", scale=2, preset="small", width=7, heads=2)
    assert str(raised.value) == "--set mcmrsr...: width 7 is not a multiple of heads 2"
