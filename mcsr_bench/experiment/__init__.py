"""A grid of trials: what was asked (`grid`), running what is missing of it (`run`), searching settings (`tune`), reporting it."""
