"""Where the echo of a scan's readouts is: what their heads say of it, measured on the data.

Writers count ``center_sample`` differently: from the start or the end of a reversed readout (ACQ_IS_REVERSE), as n // 2 or
n // 2 - 1 of a whole one, or not at all. One sample is one turn of phase across the image; where every other row has it, a ghost.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from .mrd_rows import WRAPPED, Rows

SURE = 0.3
"""Samples that a measured shift may be from a whole number, or from what a head says, to be taken for it."""
APART = 0.25
"""Samples between reversed readouts and the others that are let pass without a word; gradients are late by tenths of them."""

Samples = NDArray[np.complex128]


def by_direction(
    rows: Rows, lines: Iterable[tuple[int, NDArray[np.complex64]]], shape: tuple[int, int, int]
) -> tuple[Samples, Samples]:
    """k-space (coils, Ny, Nx) of readouts (coils, n) in the order of k-space, summed where they meet: others, reversed ones."""
    out = np.zeros((2, *shape), np.complex128)
    for i, line in lines:
        samples, columns = rows.columns(i, shape[-1])
        out[int(rows.reverse[i]), :, rows.ky[i], columns] += line[:, samples].T
    return out[0], out[1]


def align(slices: Sequence[Rows], measured: tuple[Samples, Samples], notes: list[str]) -> list[Rows]:
    """The readouts of all slices, moved to where the echo is on one of them; ``measured``: that one, by direction."""
    others, reverse = measured
    width = others.shape[-1]
    out = list(slices)
    if others.any() and reverse.any():
        apart = _shift(others, reverse)
        move = -round(apart)
        if move and abs(apart + move) <= SURE and _fits(out, move, width):
            out = [_moved(rows, move, rows.reverse) for rows in out]
            reverse = np.roll(reverse, move, axis=-1)
            notes.append(
                f"reversed readouts lie {apart:+.1f} samples from the others as center_sample and ACQ_IS_REVERSE place them: they "
                f"are moved by {move:+d}"
            )
        elif abs(apart) > APART:
            notes.append(
                f"reversed readouts lie {apart:+.2f} samples from the others, a gradient delay perhaps: left there"
            )
    return _centred(out, np.abs(others + reverse).sum((0, 1)), width, notes)


def _centred(slices: list[Rows], profile: NDArray[np.float64], width: int, notes: list[str]) -> list[Rows]:
    """Readouts with the echo on the centre sample, where their heads say that it is where it is measured."""
    rows, middle = slices[len(slices) // 2], width // 2
    if not profile.any() or not (rows.samples == width).all():  # parts of readouts are placed by center_sample
        return slices
    found = _peak(profile) - middle
    forward = rows.take(~rows.reverse)
    if len(forward.number):
        given = int(np.median(forward.centre)) - middle if forward.centre.any() else 0
        told = "center_sample"
    else:  # from which end a reversed readout is counted is one sample of difference
        given = int(np.clip(round(found), -1, 1))
        told = "reversed readouts"
    if given == 0:
        return slices  # `centre_remarks` tells of a peak that is elsewhere
    if abs(found - given) > 0.5:
        notes.append(
            f"{told} have the echo at sample {middle + given} of {width}, and k-space peaks at {middle + found:.1f}: it is taken "
            f"to be at {middle}"
        )
        return slices
    notes.append(
        f"{told} have the echo at sample {middle + given} of {width}, as k-space has it: it is moved to {middle}"
    )
    return [_moved(rows, -given, np.ones(len(rows.number), np.bool_)) for rows in slices]


def _moved(rows: Rows, move: int, which: NDArray[np.bool_]) -> Rows:
    return replace(rows, offset=rows.offset + move * which)


def _fits(slices: Sequence[Rows], move: int, width: int) -> bool:
    """Whether reversed readouts are still within k-space when moved."""
    for rows in slices:
        some = rows.take(rows.reverse)
        first, stop = some.offset + move, some.offset + move + some.samples
        round_about = (some.samples == width) & (abs(move) <= WRAPPED)
        if not (round_about | ((first >= 0) & (stop <= width))).all():
            return False
    return True


def _shift(others: Samples, reverse: Samples) -> float:
    """How many samples the rows of ``reverse`` are after their neighbours and themselves in ``others``.

    Over the image's columns, the product of a row with the conjugate of the next and the last, summed over the rows, has no phase
    but that of the shift: the object's own drops out, as in an autocorrelation.
    """
    a, b = (np.fft.fftshift(np.fft.ifft(np.fft.ifftshift(x, axes=-1), axis=-1), axes=-1) for x in (others, reverse))
    near = a.copy()
    near[:, 1:] += a[:, :-1]
    near[:, :-1] += a[:, 1:]
    product = (b.conj() * near).sum((0, 1))
    turn = (product[1:] * product[:-1].conj()).sum()
    return float(-np.angle(turn) * others.shape[-1] / (2 * np.pi))


def _peak(values: NDArray[np.float64]) -> float:
    """Where the largest value is, between samples by a parabola through its logarithm and its neighbours', round about."""
    i = int(np.argmax(values))
    low, middle, high = (float(np.log(max(values[(i + k) % len(values)], 1e-300))) for k in (-1, 0, 1))
    bend = low - 2 * middle + high
    return i + (0.5 * (low - high) / bend if bend < 0 else 0.0)
