"""What every room may use: the devices of this machine, and what numbers were computed with."""
