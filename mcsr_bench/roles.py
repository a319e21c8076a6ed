"""The two roles that a contrast may have: what is super-resolved, and what helps."""

from typing import Literal

Role = Literal["target", "auxiliary"]
ROLES: tuple[Role, ...] = ("target", "auxiliary")
