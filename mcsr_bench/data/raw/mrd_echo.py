"""Where the echo of a scan's readouts is: what their heads say of it, measured on the data.

Writers count ``center_sample`` differently: from the start or the end of a reversed readout (ACQ_IS_REVERSE), as n // 2 or
n // 2 - 1 of a whole one, or not at all. One sample is one turn of phase across the image; where every other row has it, a ghost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from .mrd_rows import WRAPPED, Rows

SURE = 0.25
"""Samples that a measured shift may be from a whole number, or from what a head says, to be taken for it."""
APART = 0.25
"""Samples between reversed readouts and the others that are let pass without a word; gradients are late by tenths of them."""

CLOSER = 1.02
"""How much more alike their neighbours readouts have to be without being reversed, for the flag not to be followed."""

Samples = NDArray[np.complex128]


def kspace_of(rows: Rows, lines: Iterable[tuple[int, NDArray[np.complex64]]], shape: tuple[int, int, int]) -> Samples:
    """k-space (coils, Ny, Nx) of readouts (coils, n) in the order of k-space, summed where they meet."""
    out = np.zeros(shape, np.complex128)
    for i, line in lines:
        samples, columns = rows.columns(i, shape[-1])
        out[:, rows.ky[i], columns] += line[:, samples]
    return out


def align(slices: Sequence[Rows], read: Callable[[Rows], Samples], notes: list[str]) -> list[Rows]:
    """The readouts of all slices, moved to where the echo is on the middle one; ``read``: its k-space, of some of its rows."""
    out, middle = list(slices), slices[len(slices) // 2]
    others, reverse = (read(middle.take(middle.reverse == which)) for which in (False, True))
    width = others.shape[-1]
    if others.any() and reverse.any():
        apart, close = _shift(others, reverse)
        stored = read(middle.take(middle.reverse).as_stored(width))
        here, closer = _shift(others, stored)
        if closer > CLOSER * close and abs(here) <= SURE:
            notes.append(
                "readouts are flagged as reversed, and are in the order of the others by the data: they are used so"
            )
            return _centred([rows.as_stored(width) for rows in out], others + stored, notes)
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
    return _centred(out, others + reverse, notes)


def _centred(slices: list[Rows], kspace: Samples, notes: list[str]) -> list[Rows]:
    """Readouts with the echo on the centre sample, where their heads say that it is where it is measured."""
    rows, width = slices[len(slices) // 2], kspace.shape[-1]
    profile, middle = np.abs(kspace).sum((0, 1)), width // 2
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


def _shift(others: Samples, reverse: Samples) -> tuple[float, float]:
    """How many samples the rows of ``reverse`` are after their neighbours and themselves in ``others``; how alike they are.

    Over the image's columns, the product of a row with the conjugate of the next and the last, summed over the rows, has no phase
    but that of the shift: the object's own drops out, as in an autocorrelation. Alike, 0 to 1: what of that product is left when
    it is turned back by the shift and summed.
    """
    a, b = (np.fft.fftshift(np.fft.ifft(np.fft.ifftshift(x, axes=-1), axis=-1), axes=-1) for x in (others, reverse))
    near = a.copy()
    near[:, 1:] += a[:, :-1]
    near[:, :-1] += a[:, 1:]
    product = (b.conj() * near).sum((0, 1))
    turn = (product[1:] * product[:-1].conj()).sum()
    back = product * np.exp(-1j * np.angle(turn) * np.arange(len(product)))
    alike = float(abs(back.sum()) / max((np.abs(b) * np.abs(near)).sum(), 1e-300))
    return float(-np.angle(turn) * len(product) / (2 * np.pi)), alike


def _peak(values: NDArray[np.float64]) -> float:
    """Where the largest value is, between samples by a parabola through its logarithm and its neighbours', round about."""
    i = int(np.argmax(values))
    low, middle, high = (float(np.log(max(values[(i + k) % len(values)], 1e-300))) for k in (-1, 0, 1))
    bend = low - 2 * middle + high
    return i + (0.5 * (low - high) / bend if bend < 0 else 0.0)
