"""Classes in place of names: what a notebook defines is loaded, run beside the others, and never taken for what it was before."""

import os
import re
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch

import mcsr_bench as mb
from mcsr_bench.plugin.given import code_of, plugin_of
from mcsr_bench.plugin.registry import methods

TOYS = Path(__file__).parent / "toys"
QUICK = {"loss": "l1", "optimizer": "adam", "learning_rate": 1e-3, "schedule": "constant", "budget": 4}
QUICK |= {"budget_unit": "steps", "batch_size": 2, "patch": 4, "augment": "none", "validations": 1}
CARD = {"contrasts": "multi", "track": "magnitude", "presets": {"quick": QUICK}}


SINGLE = {"contrasts": "single", "track": "complex", "trains": False}


class MyNet(mb.TorchMethod):
    """A network of my own.

    It has one layer.
    """

    Card = CARD

    def build_network(self) -> torch.nn.Module:
        return torch.nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, batch: mb.Batch) -> torch.Tensor:
        return self.network(batch.auxiliary_magnitude[:, None])[:, 0]

    def loss(self, output: torch.Tensor, batch: mb.Batch) -> torch.Tensor:
        return self.pixel_loss(output, batch.target_magnitude)


class Halved(mb.Method):
    Card = SINGLE | {"name": "half"}

    def predict(self, batch: mb.Batch) -> torch.Tensor:
        return batch.auxiliary * 0.5


class Breaks(MyNet):
    """It fails."""

    def loss(self, output, batch):
        raise RuntimeError("not today")


@pytest.fixture(autouse=True)
def no_report(monkeypatch, request):
    """The report at the end of a run is most of its time, and the same for every method."""
    if "slow" not in request.keywords:
        monkeypatch.setattr("mcsr_bench.api.make_report", lambda *_: ([], []))


def run(out, chosen, **options):
    return mb.run(chosen, "toy", 2, plugins=TOYS, preset="quick", out=out, jobs=1, **options)


def test_a_class_is_loaded_like_a_name():
    before = torch.random.get_rng_state()
    method = mb.load_method(MyNet, 2, "quick", budget=7)
    assert type(method) is MyNet
    assert (method.card.name, method.card.title, method.settings.budget) == ("mynet", "A network of my own.", 7)
    assert (method.card.authors, method.card.venue, method.card.year) == ("not stated", "not stated", 0)
    same = mb.load_method(MyNet, 2, "quick")
    torch.testing.assert_close(method.state(), same.state(), rtol=0, atol=0)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert "mynet" not in methods().plugins()


def test_the_class_of_a_plugin_is_that_plugin():
    bicubic = type(mb.load_method("bicubic", 2))
    assert mb.load_method(bicubic, 2).card == mb.load_method("bicubic", 2).card


@pytest.mark.usefixtures("own_cache")
def test_classes_run_beside_names_and_leave_the_callers_torch_as_it_was(tmp_path):
    usual, state = torch.get_num_threads(), torch.random.get_rng_state()
    torch.set_num_threads(3)
    try:
        results = run(tmp_path / "r", [MyNet, "zerofill", Halved])
        threads = torch.get_num_threads()
    finally:
        torch.set_num_threads(usual)
    assert [(r.method, r.status) for r in results.asked] == [("mynet", "done"), ("zerofill", "done"), ("half", "done")]
    assert threads == 3
    assert torch.equal(torch.random.get_rng_state(), state)
    record = results.asked[0]
    assert record.card["title"] == "A network of my own."
    assert record.code == plugin_of(MyNet).code
    assert record.profile["parameters"] == 10
    assert (tmp_path / "r" / "toy" / "x2" / "mynet" / "seed0" / "weights.safetensors").is_file()


@pytest.mark.slow
@pytest.mark.usefixtures("own_cache")
def test_classes_are_in_reports_of_this_call_and_later_ones(tmp_path):
    results = run(tmp_path / "r", [MyNet, "zerofill"])
    tables, _ = mb.report(tmp_path / "r", tmp_path / "report")
    for table in (results.tables[0], tables[0]):
        assert {row[0].text for row in table.rows} == {"mynet", "zerofill"}
    assert len(run(tmp_path / "r", "bicubic").trials) == 3


@pytest.mark.usefixtures("own_cache", "workers")
def test_a_class_runs_here_and_the_others_in_workers(tmp_path):
    results = run(tmp_path / "r", [MyNet, "zerofill"])
    assert [record.status for record in results.asked] == ["done", "done"]
    mine, other = results.asked
    assert mine.pid != other.pid
    assert mine.pid == os.getpid()


@pytest.mark.usefixtures("own_cache")
def test_the_scores_are_those_of_the_same_code_in_a_folder(tmp_path):
    folder = tmp_path / "plugins" / "twin"
    folder.mkdir(parents=True)
    source = Path(__file__).read_text(encoding="utf-8")
    body = source[source.index("class MyNet") : source.index("class Halved")].replace("    Card = CARD\n", "")
    (folder / "__init__.py").write_text(f"import torch\nimport mcsr_bench as mb\n\n{body}")
    values = "\n".join(f"{key} = {value!r}".replace("'", '"') for key, value in QUICK.items())
    (folder / "card.toml").write_text(
        'name = "twin"\ntitle = "t"\nclass = "MyNet"\nauthors = "I"\nvenue = "v"\nyear = 2026\n'
        f'contrasts = "multi"\ntrack = "magnitude"\n[presets.quick]\n{values}\n'
    )
    results = mb.run(
        [MyNet, "twin"], "toy", 2, plugins=[TOYS, tmp_path / "plugins"], preset="quick", out=tmp_path / "r", jobs=1
    )
    one, two = (results.volumes[results.volumes["method"] == name]["psnr@volume-max"] for name in ("mynet", "twin"))
    assert np.array_equal(one.to_numpy(), two.to_numpy())


@pytest.mark.usefixtures("own_cache")
def test_a_class_that_fails_takes_no_other_down(tmp_path):
    results = run(tmp_path / "r", [Breaks, Halved, "zerofill"])
    assert [record.status for record in results.asked] == ["failed", "done", "done"]
    assert results.asked[0].reason == "RuntimeError: not today"


@pytest.mark.usefixtures("own_cache")
def test_an_interrupted_class_is_recorded_and_begins_again(tmp_path):
    class Stops(MyNet):
        stop = True

        def forward(self, batch):
            if type(self).stop:
                raise KeyboardInterrupt
            return super().forward(batch)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "r", ["zerofill", Stops])
    status = mb.load_results(tmp_path / "r").trials.set_index("method")["status"].to_dict()
    assert status == {"zerofill": "done", "stops": "interrupted"}
    Stops.stop = False
    assert [record.status for record in run(tmp_path / "r", ["zerofill", Stops]).asked] == ["done", "done"]


@pytest.mark.usefixtures("own_cache")
def test_unchanged_code_is_kept_and_changed_code_runs_again(tmp_path):
    one = defined("return batch.auxiliary * FACTOR", FACTOR=0.5)
    run(tmp_path / "r", one)
    place = tmp_path / "r" / "toy" / "x2" / "defined"
    before = (place / "seed0" / "trial.json").stat().st_mtime_ns
    run(tmp_path / "r", defined("return batch.auxiliary * FACTOR", FACTOR=0.5))
    assert (place / "seed0" / "trial.json").stat().st_mtime_ns == before
    with pytest.warns(UserWarning, match="was computed by other code"):
        run(tmp_path / "r", defined("return batch.auxiliary * FACTOR", FACTOR=0.25))
    assert len(list(place.glob("seed0.replaced-*"))) == 1


def defined(body: str, before: str = "", **names: object) -> type[mb.Method]:
    """A class as a cell of a notebook defines it: in no file, its source known to Python's linecache alone."""
    import linecache

    source = before + textwrap.dedent(
        f"""
        class Defined(mb.Method):
            Card = {{"contrasts": "single", "track": "complex", "trains": False}}

            def predict(self, batch):
                {body}
        """
    )
    file = f"<cell {len(linecache.cache)}>"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    scope = {"mb": mb, "torch": torch, "__name__": "__main__", **names}
    exec(compile(source, file, "exec"), scope)
    return scope["Defined"]


def code(*arguments: str, **names: object) -> str:
    found = defined(*arguments, **names)
    return code_of(found, plugin_of(found).card)


HELPER = "def helper(x):\n    return x * {}\n"


def test_code_is_what_the_class_and_what_it_names_are_made_of():
    assert code("return batch.auxiliary") == code("return batch.auxiliary")
    different = {
        code("return batch.auxiliary"),
        code("return batch.auxiliary * 2"),
        code("return batch.auxiliary * F", F=2),
        code("return batch.auxiliary * F", F=3),
        code("return batch.auxiliary * F[0]", F=[2, 2]),
        code("return batch.auxiliary * F[0]", F=[2, 3]),
        code("return batch.auxiliary * F['a']", F={"a": 1}),
        code("return helper(batch.auxiliary)", HELPER.format(2)),
        code("return helper(batch.auxiliary)", HELPER.format(3)),
        code("return (lambda: helper(batch.auxiliary))()", HELPER.format(3)),
        code("return helper(batch.auxiliary)", HELPER.format("F"), F=2),
        code("return helper(batch.auxiliary)", HELPER.format("F"), F=4),
        code("return helper(batch.auxiliary)", "helper = lambda x: x * 2\n"),
        code("return helper(batch.auxiliary)", "helper = lambda x: x * 3\n"),
        code("return F(batch.auxiliary)", F=torch.exp),
    }
    assert len(different) == 15
    assert not any(one.startswith("unseen") for one in different)
    unused = code("return batch.auxiliary", HELPER.format(9), F=torch.ones(3))
    assert unused == code("return batch.auxiliary")


def test_what_a_closure_holds_is_in_the_code():
    def made(factor: float) -> type[mb.Method]:
        class Closed(mb.Method):
            Card = SINGLE

            def predict(self, batch):
                return batch.auxiliary * factor

        return Closed

    assert plugin_of(made(0.5)).code == plugin_of(made(0.5)).code != plugin_of(made(0.25)).code


def test_bases_and_settings_are_in_the_code():
    class Settings(mb.TrainingSettings):
        width: int = 3

    class Wider(mb.TrainingSettings):
        width: int = 4

    def made(base: type, kind: type) -> str:
        class Sub(base):
            Settings = kind

        return plugin_of(Sub).code

    codes = {made(MyNet, Settings), made(MyNet, Wider), made(Breaks, Settings)}
    assert len(codes) == 3
    assert made(MyNet, Settings) in codes


@pytest.mark.parametrize(
    "hidden",
    [torch.ones(2), object(), np.arange(3), torch.nn.Linear(1, 1)],
)
def test_what_cannot_be_seen_is_never_the_same(hidden):
    one, two = (code("return batch.auxiliary if HIDDEN is None else batch.auxiliary", HIDDEN=hidden) for _ in range(2))
    assert one.startswith("unseen-")
    assert one != two


class Abstract(mb.TorchMethod):
    Card = CARD


NOTHING: dict[str, str] = {}
CONTRASTS = {"contrasts": "multi"}


class NoCard(MyNet):
    Card = NOTHING


class Half(MyNet):
    Card = CONTRASTS


class Odd(MyNet):
    Card = CARD | {"contrasts": "both"}


class Unknown(MyNet):
    Card = CARD | {"colour": "red"}


class Sanet(MyNet):
    pass


@pytest.mark.parametrize(
    ("method", "sentence"),
    [
        (Abstract, "class Abstract: lacks build_network, forward, loss"),
        (NoCard, r"class NoCard: its class attribute Card, a dict of what a card\.toml says, has no contrasts"),
        (Half, "class Half: .* has no track"),
        (Odd, "class Odd: Card: contrasts: input should be 'single' or 'multi'"),
        (Unknown, "class Unknown: Card: colour: extra inputs are not permitted"),
        (Sanet, "class Sanet: the name 'sanet' is taken by .*; give another in its Card"),
        (int, "methods is the class int; it may be text, a subclass of Method"),
        (mb.TorchMethod, "class TorchMethod: lacks"),
    ],
)
def test_a_class_that_cannot_be_a_method(method, sentence, tmp_path):
    with pytest.raises(mb.UserError, match=sentence):
        run(tmp_path / "r", method)
    assert not (tmp_path / "r").exists()


def test_profile_takes_a_class():
    [row] = mb.profile(MyNet, 2, size=32, preset="quick", timed=False)
    assert (row["name"], row["parameters"]) == ("mynet", 10)


def test_the_class_of_the_documentation_is_one():
    page = (Path(__file__).parents[1] / "docs" / "notebooks.md").read_text(encoding="utf-8")
    [block] = [part for part in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "class MyNet" in part]
    scope = {"mb": mb, "__name__": "__main__"}
    exec(block[: block.index("results =")], scope)
    method = mb.load_method(scope["MyNet"], 4, "quick")
    assert method.card.title == "Two convolutions, for a start."


@pytest.mark.parametrize("again", [False, True])
def test_the_folder_of_trials_is_listed_as_often_for_many_as_for_few(own_cache, tmp_path, monkeypatch, again):
    """Once per trial, 10 000 of them would read 100 million names."""
    scandir = os.scandir

    def listings(seeds: int) -> int:
        out, listed = tmp_path / str(seeds), []
        asked = {"chosen": [Halved], "seeds": tuple(range(seeds))}
        if again:
            run(out, **asked)
        with monkeypatch.context() as patched:
            patched.setattr(os, "scandir", lambda path=".": listed.append(str(path)) or scandir(path))
            patched.setattr(os, "listdir", lambda path=".": [entry.name for entry in os.scandir(path)])
            assert len(run(out, **asked).bundles) == seeds
        return listed.count(str(out / "toy" / "x2" / "half"))

    assert listings(6) == listings(2) > 0
