"""Floor 4: where trials run. An engine takes trial specs and gives back their records."""
