"""Print the tables of docs/statistics.md: what tests and intervals do where the truth is known (`tox -e simulations`)."""

from __future__ import annotations

from collections.abc import Callable

from simulated import KINDS, PATIENTS, SEEDS, SPREADS, Spread, coverage, marks, rejections, weights_only


def by_cell(title: str, cell: Callable[[Spread, int, int], float]) -> None:
    print(f"\n{title}\n")
    print("| patients | seeds | " + " | ".join(SPREADS) + " |")
    print("|---|---|" + "---|" * len(SPREADS))
    for patients in PATIENTS:
        for seeds in SEEDS:
            shares = (f"{100 * cell(spread, seeds, patients):.1f}" for spread in SPREADS.values())
            print(f"| {patients} | {seeds} | {' | '.join(shares)} |", flush=True)


def by_patients(title: str, columns: tuple[str, ...], cell: Callable[[str, int], tuple[float, ...]]) -> None:
    print(f"\n{title}\n")
    print("| differences | patients | " + " | ".join(columns) + " |")
    print("|---|---|" + "---|" * len(columns))
    for kind in KINDS:
        for patients in (6, 12, 20, 45):
            print(
                f"| {kind} | {patients} | " + " | ".join(f"{100 * x:.0f}" for x in cell(kind, patients)) + " |",
                flush=True,
            )


if __name__ == "__main__":
    by_cell("False positives of p_t, %", rejections)
    by_cell("False positives of p_weights, read as a test of the methods, %", weights_only)
    by_cell("Power of p_t for a difference of 0.5 dB, %", lambda *cell: rejections(*cell, effect=0.5))
    by_patients("Coverage of the 95 % intervals, %", ("t", "BCa"), coverage)
    by_patients(
        "One dominant patient, no difference in truth, %", ("marked", "p < 0.05", "p < 0.05 of the marked"), marks
    )
