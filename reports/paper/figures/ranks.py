"""Critical-difference diagram over data sets (Demsar, JMLR 7:1, 2006)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import matplotlib as mpl
import pandas as pd

from mcsr_bench.results.ranks import Friedman

from ..ranking import friedman_groups
from ..sheets import Sheet
from .drawing import Drawing
from .style import PAGE, SETTINGS, Palette, canvas

_LEVEL = 0.05


def cliques(found: Friedman) -> list[tuple[str, ...]]:
    """Runs of neighbours by rank among which no two differ at 0.05, each as long as it can be; none within another."""
    names = list(found.mean_ranks.sort_values().index)
    out: list[tuple[str, ...]] = []
    for i in range(len(names)):
        j = i
        while j + 1 < len(names) and all(found.pairwise.loc[a, names[j + 1]] >= _LEVEL for a in names[i : j + 1]):
            j += 1
        group = tuple(names[i : j + 1])
        if len(group) > 1 and not any(set(group) <= set(other) for other in out):
            out.append(group)
    return out


def rank_diagrams(sheets: Sequence[Sheet], palette: Palette) -> Iterator[Drawing]:
    """One per preset, protocol and track, where Friedman's test has enough data sets and methods."""
    for (preset, protocol, track), found in friedman_groups(sheets).items():
        ranks = found.mean_ranks.sort_values()
        groups = cliques(found)
        figure, [ax] = canvas(PAGE, 0.9 + 0.14 * len(ranks) + 0.1 * len(groups))
        with mpl.rc_context(SETTINGS):  # type: ignore[arg-type]
            for k, group in enumerate(groups):
                level = -0.35 - 0.3 * k
                ax.plot([ranks[group[0]] - 0.05, ranks[group[-1]] + 0.05], [level] * 2, color="black", linewidth=2.5)
            depth = -0.35 - 0.3 * len(groups)
            half = -(-len(ranks) // 2)
            for i, (name, rank) in enumerate(ranks.items()):
                left = i < half
                level = depth - 0.45 * (i if left else len(ranks) - 1 - i) - 0.3
                end = 0.4 if left else len(ranks) + 0.6
                ax.plot([rank, rank, end], [0, level, level], color=palette.colour(str(name)), linewidth=1)
                ax.text(end, level, f" {name} {rank:.2f} ", ha="right" if left else "left", va="center", fontsize=7)
            ax.plot([1, len(ranks)], [0, 0], color="black", linewidth=1)
            for tick in range(1, len(ranks) + 1):
                ax.plot([tick] * 2, [0, 0.12], color="black", linewidth=1)
                ax.text(tick, 0.2, str(tick), ha="center", va="bottom", fontsize=7)
            ax.set_xlim(-1.2, len(ranks) + 2.2)
            ax.axis("off")
        pairs = found.pairwise.rename_axis("method").reset_index()
        data = ranks.rename("mean_rank").rename_axis("method").reset_index().merge(pairs, on="method")
        data["clique"] = [";".join(str(k) for k, g in enumerate(groups) if name in g) for name in data["method"]]
        p = "undefined" if pd.isna(found.p) else f"{found.p:.3g}"
        caption = (
            f"Mean ranks by PSNR over {found.n_blocks} data sets (scales averaged), 1 is best; bars join methods that do not "
            f"differ at 0.05 (Nemenyi). Friedman: p {p}. Exploratory. Protocol {protocol}, preset {preset}, {track} track."
        )
        yield Drawing(f"ranks-{preset}-{protocol}-{track}", "Critical differences", caption, figure, data)
