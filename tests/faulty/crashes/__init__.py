"""A fault on purpose: the import fails."""

raise RuntimeError("no licence file")
