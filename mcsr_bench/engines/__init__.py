"""Where jobs run. `base` says what an engine is, `processes` is the one on this machine."""
