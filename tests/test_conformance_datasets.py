"""The conformance suite on datasets: sound ones pass, and each planted fault fails exactly its check."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mcsr_bench import UserError
from mcsr_bench.conformance import Outcome, check_dataset
from mcsr_bench.plugin import registry

TOYS = Path(__file__).parent / "toys"
CODE, CARD = "__init__.py", "card.toml"


def forget_plugins() -> None:
    registry.datasets.cache_clear()
    for module in [m for m in sys.modules if m.startswith("mcsr_bench_plugin_edited")]:
        del sys.modules[module]


@pytest.fixture
def plugins() -> Iterator[None]:
    """A registry of this test alone, with the toy."""
    forget_plugins()
    registry.datasets().add_folder(TOYS)
    yield
    forget_plugins()


def of(status: str, outcomes: list[Outcome]) -> dict[str, str]:
    return {o.check: o.detail for o in outcomes if o.status == status}


@pytest.mark.usefixtures("plugins")
def test_a_sound_dataset_passes() -> None:
    outcomes = check_dataset("toy", settings={"patients": 6})
    assert {o.check: o.status for o in outcomes} == dict.fromkeys(
        ("loads", "card", "cases", "reads", "repeats", "agrees", "split", "fingerprint"), "pass"
    )
    assert {o.check: o.detail for o in outcomes}["cases"] == "6 volumes of 6 patients"
    with pytest.raises(UserError, match="setting of toy"):
        check_dataset("toy", settings={"patient": 6})
    with pytest.raises(UserError, match="--data-root is missing"):
        check_dataset("nifti")


def test_brain_sim_passes(own_cache: Path) -> None:
    assert of("fail", check_dataset("brain-sim", settings={"subjects": 4, "slices": 2, "size": 32})) == {}


@pytest.fixture
def edited(plugins: None, tmp_path: Path) -> Callable[..., list[Outcome]]:
    """``edited((file, old, new), ...)``: the toy, which is sound, with something replaced, checked."""

    def build(*edits: tuple[str, str, str]) -> list[Outcome]:
        folder = tmp_path / "my" / "edited"
        folder.mkdir(parents=True)
        for file in (CODE, CARD):
            text = (TOYS / "toy" / file).read_text().replace('name = "toy"', 'name = "edited"')
            for where, old, new in edits:
                if where == file:
                    assert old in text
                    text = text.replace(old, new)
            (folder / file).write_text(text)
        registry.datasets().add_folder(tmp_path / "my")
        return check_dataset("edited")

    return build


CASE = 'Case(f"p{i:02d}", f"p{i:02d}-v0", s.slices, (s.size, s.size))'
YIELD = "yield image, (auxiliary * phase).astype(np.complex64)"


@pytest.mark.parametrize(
    ("name", "words", "edit"),
    [
        ("loads", "is not a subclass of mcsr_bench.Dataset", (CODE, "class Toy(Dataset)", "class Toy")),
        ("loads", "cannot be imported: ValueError: no", (CODE, "class Toy(", "raise ValueError('no')\nclass Toy(")),
        ("loads", "licence: field required", (CARD, 'licence = "Apache-2.0"\n', "")),
        ("card", "contrasts: A is not among", (CARD, '["B", "A"]', '["B", "C"]')),
        ("card", "are both A", (CODE, 'return "B", "A"', 'return "A", "A"')),
        ("card", "the class has complex, the card has magnitude", (CARD, '"complex"', '"magnitude"')),
        ("card", "generated data are never called real", (CARD, "real = false", "real = true")),
        ("card", "that the data are generated or simulated", (CARD, '"generated"', '"the internet"')),
        ("card", "is not a setting of the dataset", (CARD, "real = false", 'real = false\nsize_setting = "pixels"')),
        ("cases", "cases() lists no case", (CODE, "for i in range(s.patients)]", "for i in range(0)]")),
        ("cases", "volume_id p00-v0 is not unique", (CODE, CASE, CASE.replace("{i:02d}-v", "{i // 2:02d}-v"))),
        ("cases", "volume_id 'p00/v0': letters", (CODE, "-v0", "/v0")),
        ("cases", "has no patient_id", (CODE, 'Case(f"p{i:02d}"', 'Case(""')),
        ("cases", "announces 0 slices", (CODE, "slices: int = 2", "slices: int = 0")),
        ("cases", "lists other cases", (CODE, f"[{CASE}", "[" + CASE.replace("-v0", "-{np.random.rand()}"))),
        (
            "reads",
            "is complex128 (32, 32); complex64 (32, 32) was announced",
            (CODE, YIELD, "yield image, auxiliary * phase"),
        ),
        (
            "reads",
            "slice 1 of the target of p09-v0 holds NaN",
            (CODE, 's.fault == "nan" and case.patient_id == "p03"', 'case.patient_id == "p09"'),
        ),
        (
            "reads",
            "slices of the target were announced and 3 came",
            (CODE, "in range(s.slices):", "in range(s.slices + 1):"),
        ),
        ("reads", "the auxiliary is zero everywhere", (CODE, YIELD, YIELD.replace("auxiliary *", "0 * auxiliary *"))),
        (
            "agrees",
            "slice 0 of the target of p00-v0: read and read_contrast differ",
            (CODE, "yield target if", "yield 2 * target if"),
        ),
        (
            "agrees",
            "raw_kspace of the target of p00-v0 is complex64 (32, 32); complex64 (coils, H, W)",
            (
                CODE,
                "    def grids",
                "    def raw_kspace(self, *_):\n        return np.ones((32, 32), np.complex64)\n\n    def grids",
            ),
        ),
        (
            "agrees",
            "reconstruction of the target of p00-v0 is float64 (32, 32); float32 (h, w)",
            (
                CODE,
                "    def grids",
                "    def reconstruction(self, *_):\n        return np.ones((32, 32))\n\n    def grids",
            ),
        ),
        ("repeats", "reads otherwise", (CODE, YIELD, f"image[0, 0] = np.random.rand(); {YIELD}")),
        (
            "split",
            "is in both",
            (CODE, "return split_by_patient", 'return Split(("p00-v0",), ("p01-v0",), ("p01-v0",), "x") or s'),
        ),
        ("split", "splits otherwise", (CODE, "self.settings.seed,", "np.random.randint(10**6),")),
        ("fingerprint", "fingerprints of the same data", (CODE, '{"recipe": 1,', '{"recipe": np.random.rand(),')),
    ],
)
def test_what_is_found_in_a_dataset(
    edited: Callable[..., list[Outcome]], name: str, words: str, edit: tuple[str, str, str]
) -> None:
    found = of("fail", edited(edit))
    assert found.keys() == {name}
    assert words in found[name]
