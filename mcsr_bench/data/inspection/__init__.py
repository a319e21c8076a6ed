"""Looks at the data of a set while it is prepared, and says what a reader of results on them should know.

`Inspector` sees the slices of one case once and keeps a few sums; `findings` and `facts_table` speak of all cases together.
`Content` tells which slices are empty.
"""

from .content import Content
from .facts import facts_table, findings
from .inspector import Inspector

__all__ = ["Content", "Inspector", "facts_table", "findings"]
