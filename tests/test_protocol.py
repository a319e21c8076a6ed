"""Protocols: degradation and normalisation against numpy, and hashes that move with what they cover and with nothing else."""

import json

import numpy as np
import pytest
import torch

from mcsr_bench.errors import UserError
from mcsr_bench.metrics import METRICS
from mcsr_bench.plugin.batch import Batch
from mcsr_bench.protocol import MCSR_1, PROTOCOLS, REVISIONS, SANET_2021, get_protocol


def random_pair(seed=0, shape=(2, 32, 48)):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=shape) + 1j * rng.normal(size=shape) + 3).astype(np.complex64)


def numpy_lr(image, scale):
    """Orthonormal centred crop, written out in numpy: the LR image of the published code."""
    H, W = image.shape[-2:]
    h, w = H // scale, W // scale
    k = np.fft.fftshift(np.fft.fft2(np.fft.ifftshift(image, axes=(-2, -1)), norm="ortho"), axes=(-2, -1))
    top, left = H // 2 - h // 2, W // 2 - w // 2
    k = k[..., top : top + h, left : left + w]
    return np.fft.fftshift(np.fft.ifft2(np.fft.ifftshift(k, axes=(-2, -1)), norm="ortho"), axes=(-2, -1))


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_degradations_of_both_protocols(scale):
    image = random_pair()
    published = numpy_lr(image.astype(np.complex128), scale)
    np.testing.assert_allclose(SANET_2021.degrade(torch.from_numpy(image), scale).numpy(), published, atol=1e-4)
    np.testing.assert_allclose(MCSR_1.degrade(torch.from_numpy(image), scale).numpy(), published / scale, atol=1e-4)
    assert (MCSR_1.lr_gain(scale), SANET_2021.lr_gain(scale)) == (1, scale)


def test_normalisation_of_mcsr_1_uses_lr_statistics_for_the_target_and_the_auxiliarys_own():
    target, auxiliary = random_pair(1), random_pair(2) * 5
    low, auxiliary_low = numpy_lr(target, 2) / 2, numpy_lr(auxiliary, 2) / 2
    batch = Batch.of(
        *(torch.from_numpy(x.astype(np.complex64)) for x in (low, auxiliary, auxiliary_low)),
        scale=2,
        protocol=MCSR_1,
        target=torch.from_numpy(target),
    )
    mean, std = np.abs(low).mean((1, 2)), np.abs(low).std((1, 2), ddof=1)
    expected = (np.abs(target) - mean[:, None, None]) / std[:, None, None]
    np.testing.assert_allclose(batch.target_magnitude.numpy(), expected, atol=1e-4)
    own = (np.abs(auxiliary) - np.abs(auxiliary).mean((1, 2), keepdims=True)) / np.abs(auxiliary).std(
        (1, 2), ddof=1, keepdims=True
    )
    np.testing.assert_allclose(batch.auxiliary_magnitude.numpy(), own, atol=1e-4)
    np.testing.assert_allclose(batch.denormalize_target(batch.target_magnitude).numpy(), np.abs(target), atol=1e-4)
    np.testing.assert_allclose(batch.target_lr_complex.numpy(), low / std[:, None, None], atol=1e-4)


def test_normalisation_of_sanet_2021_uses_lr_statistics_everywhere_and_clamps_the_reference_too():
    target, auxiliary = random_pair(1), random_pair(2)
    target[0, 3, 4] = 500
    low, auxiliary_low = numpy_lr(target, 2), numpy_lr(auxiliary, 2)
    batch = Batch.of(
        *(torch.from_numpy(x.astype(np.complex64)) for x in (low, auxiliary, auxiliary_low)),
        scale=2,
        protocol=SANET_2021,
        target=torch.from_numpy(target),
    )
    mean, std = np.abs(low).mean((1, 2)), np.abs(low).std((1, 2), ddof=1) + 1e-11
    expected = np.clip((np.abs(target) - mean[:, None, None]) / std[:, None, None], -6, 6)
    np.testing.assert_allclose(batch.target_magnitude.numpy(), expected, atol=1e-4)
    m, s = np.abs(auxiliary_low).mean((1, 2)), np.abs(auxiliary_low).std((1, 2), ddof=1)
    np.testing.assert_allclose(
        batch.auxiliary_magnitude.numpy(), (np.abs(auxiliary) - m[:, None, None]) / s[:, None, None], atol=1e-4
    )
    reference = SANET_2021.scoring_reference(target, low.astype(np.complex64))
    np.testing.assert_allclose(np.abs(reference), expected * std[:, None, None] + mean[:, None, None], rtol=1e-5)
    assert np.abs(reference).max() < 500
    assert MCSR_1.scoring_reference(target, low.astype(np.complex64)) is target


def test_a_constant_slice_normalises_to_zero_not_to_nan():
    low = torch.full((1, 8, 8), 2.0, dtype=torch.complex64)
    batch = Batch.of(low, torch.ones(1, 16, 16).cfloat(), low, scale=2, protocol=MCSR_1)
    assert torch.equal(batch.target_lr_magnitude, torch.zeros(1, 8, 8))


@pytest.mark.parametrize("scale", [0, -2, 1, 5, 7])
def test_a_scale_that_cannot_be_had_is_refused_with_a_sentence(scale):
    with pytest.raises(UserError, match=rf"--scale {scale}: protocol mcsr-1 allows the scales 2, 3, 4, 8"):
        MCSR_1.check_scale(scale)


def test_hr_is_cropped_to_a_multiple_of_eight_lr_pixels():
    assert MCSR_1.hr_shape((182, 218), 4) == (160, 192)
    assert MCSR_1.hr_shape((320, 320), 2) == (320, 320)
    assert MCSR_1.hr_shape((320, 320), 3) == (312, 312)
    with pytest.raises(UserError, match="too small for scale 8"):
        MCSR_1.hr_shape((60, 200), 8)


@pytest.mark.parametrize("field", sorted(set(type(MCSR_1).model_fields) - {"title", "revisions"}))
def test_the_hash_moves_with_every_field_that_defines_the_protocol(field):
    value = getattr(MCSR_1, field)
    if isinstance(value, bool):
        other = not value
    elif isinstance(value, str):
        other = {"own": "lr", "test-untouched": "validation-is-test", "patient": "slice"}.get(value, value + "x")
    elif isinstance(value, tuple):
        other = value[:-1]
    else:
        other = 1.5 if value is None else value + 1
    assert MCSR_1.model_copy(update={field: other}).hash != MCSR_1.hash


@pytest.mark.parametrize("part", ["degradation", "normalisation", "split", "test"])
def test_the_hash_moves_with_the_revision_of_every_part(part):
    assert set(REVISIONS) == {"degradation", "normalisation", "split", "test"}
    raised = {**MCSR_1.revisions, part: MCSR_1.revisions[part] + 1}
    assert MCSR_1.model_copy(update={"revisions": raised}).hash != MCSR_1.hash


def test_the_hash_stays_when_a_title_is_worded_otherwise():
    assert MCSR_1.model_copy(update={"title": "in other words"}).hash == MCSR_1.hash


def test_a_new_metric_moves_no_hash():
    """No metric is in what is hashed, so the hashes are these until a protocol itself changes: results carry them."""
    for protocol in PROTOCOLS.values():
        hashed = json.dumps(protocol.model_dump(mode="json", exclude={"title"}))
        assert not [name for name in METRICS if name in hashed]
    assert {name: protocol.hash for name, protocol in PROTOCOLS.items()} == {
        "mcsr-1": "d488504d0776",
        "sanet-2021": "14bea859c92f",
    }


def test_the_two_protocols_are_there_and_differ():
    assert set(PROTOCOLS) == {"mcsr-1", "sanet-2021"}
    assert MCSR_1.hash != SANET_2021.hash
    with pytest.raises(UserError, match="no protocol 'mcsr-2'; did you mean 'mcsr-1'"):
        get_protocol("mcsr-2")
