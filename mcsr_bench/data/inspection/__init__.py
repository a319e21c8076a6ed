"""Looks at the data of a set while it is prepared, and finds what a reader of results on them should know.

`Inspector` sees the slices of one case once and keeps a few sums; `findings` and `facts_table` are about all cases together.
`Content` finds which slices are empty; `magnitudes_alone` tells whether the phase of a set is to be left out.
"""

from .content import Content
from .facts import facts_table, findings, magnitudes_alone
from .inspector import Inspector
from .phase import typical_phase

__all__ = ["Content", "Inspector", "facts_table", "findings", "magnitudes_alone", "typical_phase"]
