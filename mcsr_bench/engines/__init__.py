"""Floor 0: where jobs run. `base` says what an engine is, `processes` is the one on this machine."""
