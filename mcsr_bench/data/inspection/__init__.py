"""Looks at the data of a set while it is prepared, and finds what a reader of results on them should know.

`Inspector` sees the slices of one case once and keeps a few sums; `findings` and `facts_table` are about all cases together.
`Content` finds which slices are empty.
"""

from .content import Content
from .facts import facts_table, findings
from .inspector import Inspector

__all__ = ["Content", "Inspector", "facts_table", "findings"]
