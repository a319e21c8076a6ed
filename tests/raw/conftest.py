"""The builders of small files, here and beside the tests of the data sets, can be imported by name."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "datasets")]
