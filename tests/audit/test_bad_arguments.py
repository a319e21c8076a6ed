"""What `verify` says of arguments that cannot be meant: exit code 2."""

from pathlib import Path

import pytest

TOYS = Path(__file__).parents[1] / "toys"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nowhere",), "nowhere: no such folder of results"),
        ((TOYS,), "holds no trial"),
        ((TOYS, "--data-root", "nowhere"), "--data-root nowhere: no such folder"),
        ((TOYS, "--plugins", "nowhere"), "--plugins nowhere"),
    ],
)
def test_bad_arguments(here, arguments, said):
    out = here("verify", *arguments)
    assert out.returncode == 2
    assert said in out.stderr
