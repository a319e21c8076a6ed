"""Which slices are empty: one number per slice decides it as counting all pixels would."""

import numpy as np
import pytest

from mcsr_bench.data.inspection import Content, Inspector
from mcsr_bench.plugin.case import Case


@pytest.mark.parametrize(("shape", "fraction"), [((32, 32), 0.01), ((10, 10), 0.01), ((20, 20), 0.05), ((1, 3), 0.01)])
def test_it_agrees_with_counting_the_pixels(shape, fraction):
    rng = np.random.default_rng(0)
    size = shape[0] * shape[1]
    volume = np.zeros((40, size), np.complex64)
    for index, image in enumerate(volume):  # a few pixels well above, at and below the level
        chosen = rng.permutation(size)[: rng.integers(0, max(2, int(3 * fraction * size)) + 1)]
        image[chosen] = rng.choice([0.04, 0.05, 0.051, 0.9], len(chosen)) * np.exp(1j * index)
    volume[7, 0] = 1
    content = Content(0.05, fraction, 40)
    for image in volume:
        content.add(image.reshape(shape))
    level = np.float32(0.05 * float(np.abs(volume).max()))
    expected = [(np.abs(image) > level).mean() >= fraction for image in volume]
    assert content.occupied() == expected
    assert 0 < sum(expected) < 40


def test_a_volume_of_zeros_is_said_to_be_one():
    content = Content(0.05, 0.01, 1)
    content.add(np.zeros((8, 8), np.complex64))
    assert content.zero
    assert content.occupied() == [False]


@pytest.mark.parametrize("bright", [1e25, 3e38])
def test_one_value_of_a_damaged_file_upsets_no_other_sum(bright):
    rng = np.random.default_rng(0)
    images = rng.random((3, 32, 32)).astype(np.complex64)
    images[2, 5, 5] = bright
    inspector = Inspector(Case("p", "v", 3, (32, 32)), ("B", "A"), "magnitude")
    for index, image in enumerate(images):
        inspector.add("target", index, image)
        inspector.add("auxiliary", index, image)
    target = inspector.facts()["contrasts"]["target"]
    assert np.isfinite(target["centre"]).all()
    assert [edge["low"] for edge in target["edges"]] == [0, 0]
