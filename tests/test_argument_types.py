"""Arguments of a wrong type: each public function says so in a sentence that names the argument, before it does anything."""

import inspect
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest

import mcsr_bench as mb
from mcsr_bench.system.arguments import checked
from mcsr_bench.system.progress import Listener

FUNCTIONS = sorted(name for name in mb.__all__ if inspect.isfunction(getattr(mb, name)))
FITTING: dict[Any, Any] = {
    **{
        str: "x",
        str | type[mb.Method]: "x",
        int: 2,
        str | Path: "nowhere",
        tuple[float, float, float]: (0.6, 0.2, 0.2),
    },
    mb.PatientSplitSettings: mb.PatientSplitSettings(),
}
"""By hint, of arguments that have to be given."""


def fitting(hint: Any) -> Any:
    if hint in FITTING:
        return FITTING[hint]
    if type(None) in get_args(hint):
        return None
    return len if "Callable" in str(hint) else {} if "Mapping" in str(hint) else []


def parameters() -> list[tuple[str, str]]:
    out = []
    for name in FUNCTIONS:
        hints = get_type_hints(getattr(mb, name))
        out += [(name, p) for p in inspect.signature(getattr(mb, name)).parameters if hints[p] is not Any]
    return out


def call(name: str, wrong: str, value: object) -> None:
    """Call a function with one wrong argument; those before it fit, and the rest do not matter."""
    function, hints = getattr(mb, name), get_type_hints(getattr(mb, name))
    positional, named = [], {}
    for p in inspect.signature(function).parameters.values():
        if p.name == wrong and p.kind is p.VAR_POSITIONAL:
            positional.append(value)
        elif p.name == wrong:
            named[p.name] = value
        elif p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD):
            named[p.name] = fitting(hints[p.name])
    function(*positional, **named)


@pytest.mark.parametrize(("name", "parameter"), parameters())
def test_an_object_of_no_use_is_refused_by_name(name, parameter):
    with pytest.raises(mb.UserError, match=rf"^{name}: {parameter} is .*object.*; it may be \w") as error:
        call(name, parameter, object())
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"methods": 5}, "run: methods is 5 (int); it may be text, "),
        ({"scale": "x"}, "run: scale is 'x'; it may be a whole number, several of them or None"),
        ({"scale": [2, "4"]}, "run: scale is [2, '4'] (list); it may be a whole number, several of them or None"),
        ({"seeds": 1.5}, "run: seeds is 1.5 (float); it may be a whole number, several of them or None"),
        ({"seeds": True}, "run: seeds is True; it may be a whole number, several of them or None"),
        ({"settings": [1]}, "run: settings is [1] (list); it may be a mapping with a mapping for each name or None"),
        ({"settings": {"sanet": 5}}, "run: settings is {'sanet': 5} (dict); it may be a mapping with a mapping "),
        ({"settings": {5: {}}}, "run: settings is {5: {}} (dict); "),
        ({"out": 5}, "run: out is 5 (int); it may be a path or None"),
        ({"out": ""}, "run: out is ''; it may be a path or None"),
        ({"out": "a\0b"}, "run: out is 'a\\x00b'; it may be a path or None"),
        ({"jobs": None}, "run: jobs is None; it may be a whole number"),
        ({"preset": ["quick"]}, "run: preset is ['quick'] (list); it may be text or None"),
        ({"fresh": "no"}, "run: fresh is 'no'; it may be True or False"),
        ({"plugins": [Path("a"), 3]}, "; it may be a path or several of them"),
        ({"listener": print}, "; it may be a Listener or None"),
        ({"methods": b"sanet"}, "run: methods is b'sanet' (bytes); it may be text, "),
        ({"methods": {"sanet": 1}}, "run: methods is {'sanet': 1} (dict); it may be text, "),
    ],
)
def test_what_a_user_gets_wrong(arguments, sentence):
    with pytest.raises(mb.UserError) as error:
        mb.run(**arguments)
    assert sentence in str(error.value)


def test_a_dataset_in_place_of_its_name():
    with pytest.raises(
        mb.UserError, match=r"^run: dataset is an object of type BrainSim; .*; its name is 'brain-sim'$"
    ):
        mb.run(dataset=mb.load_dataset("brain-sim"))


def test_several_that_do_not_stay():
    """A report's folder that is not there, and the path of an output that is None."""
    with pytest.raises(mb.UserError, match=r"^report: to is None; it may be a path$"):
        mb.report("runs/none", None)
    with pytest.raises(mb.UserError, match=r"^load_results: folders is \('a', 4\) \(tuple\); it may be a path$"):
        mb.load_results("a", 4)


def test_a_name_that_no_argument_has_is_pythons_error():
    with pytest.raises(TypeError, match=r"run\(\) got an unexpected keyword argument 'metods'"):
        mb.run(metods="zerofill")
    with pytest.raises(TypeError, match=r"load_method\(\) missing 1 required positional argument: 'scale'"):
        mb.load_method("sanet")


def test_what_fits_arrives_as_it_is_and_what_passes_once_as_a_tuple():
    @checked
    def function(a: int | list[int], b: "str | Path", listener: Listener | None = None, **rest: Any) -> Any:
        return a, b, rest

    @checked
    def several(values: "tuple[float, float]", more: "list[str] | None" = None) -> Any:
        return values, more

    given = [1, 2]
    assert function(given, "x", c=1)[0] is given
    assert function(np.int64(3), Path("y"), c=object)[0] == 3
    assert type(function(np.int64(3), "y")[0]) is int
    assert function((n for n in (1, 2)), "x")[0] == (1, 2)
    assert function(np.array([1, 2]), "x")[0] == (1, 2)
    assert several([1, np.float32(0.5)]) == ((1, 0.5), None)
    with pytest.raises(mb.UserError, match=r"several: values is .1, 2, 3. .list.; it may be 2 values, each a number"):
        several([1, 2, 3])


@pytest.mark.parametrize("seed", [-1, 2**32, 2**70])
def test_a_seed_that_generators_do_not_take(seed, tmp_path):
    for attempt in (
        lambda: mb.run("zerofill", seeds=seed, out=tmp_path / "r"),
        lambda: mb.load_method("edsr", 2, "quick", seed=seed),
        lambda: mb.write_folds(folds=3, seed=seed, to=tmp_path / "f"),
        lambda: mb.tune("edsr", seed=seed, to=tmp_path / "t"),
    ):
        with pytest.raises(mb.UserError, match=rf"--seeds? {seed}: a seed is between 0 and 2\^32 - 1"):
            attempt()
    assert list(tmp_path.iterdir()) == []
