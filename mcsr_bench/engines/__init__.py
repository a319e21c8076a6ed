"""Where jobs run. `base` defines what an engine is, `processes` is the one on this machine."""
