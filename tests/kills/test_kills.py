"""Ten kills at random moments change no byte; `tox -e kills` tries a hundred."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.skipif(sys.platform != "linux", reason="processes are found in /proc")
def test_ten_kills_at_random_moments_change_no_byte():
    harness = Path(__file__).with_name("harness.py")
    done = subprocess.run(
        [sys.executable, str(harness), "--kills", "10"],
        cwd=harness.parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "10 kills in" in done.stdout
    assert "0 faults" in done.stdout
