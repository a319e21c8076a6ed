"""The outcome of a check of the conformance suite."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NoReturn

from mcsr_bench.plugin.blame import told

Check = Callable[[], str]
"""Returns what was found in order, in a few words; raises `FailedError`, `SkippedError`, or anything, which fails it too."""


@dataclass(frozen=True)
class Outcome:
    """One check of one plugin."""

    check: str
    """A short stable name, e.g. ``auxiliary``."""
    status: Literal["pass", "fail", "skip"]
    detail: str
    """What was seen, or why it failed or was left out; one sentence."""
    trace: str = field(default="", repr=False, compare=False)
    """Of an exception that failed it: where it arose, as Python prints it."""


class FailedError(Exception):
    """A check that did not hold; its text gives what was seen and what was expected."""


class SkippedError(Exception):
    """A check that does not apply to this plugin or on this machine; its text gives the reason."""


def fail(text: str) -> NoReturn:
    """End a check as failed."""
    raise FailedError(text)


def skip(text: str) -> NoReturn:
    """End a check as left out."""
    raise SkippedError(text)


def run_checks(
    checks: Mapping[str, Check], needs: Mapping[str, tuple[str, ...]], folder: Path = Path()
) -> list[Outcome]:
    """Every check in turn; whatever one raises is its outcome, and the others go on.

    needs: by check, the earlier checks without which it would only repeat their failure: it is skipped when one of them failed,
    or was itself skipped for that reason; its outcome names the one that failed. folder: that of the plugin's code.
    """
    outcomes: list[Outcome] = []
    broken: dict[str, str] = {}
    for name, check in checks.items():
        missing = [n for n in needs.get(name, ()) if n in broken]
        if missing:
            broken[name] = broken[missing[0]]
            outcomes.append(Outcome(name, "skip", f"not run, because '{broken[name]}' did not pass"))
            continue
        try:
            outcomes.append(Outcome(name, "pass", check()))
        except SkippedError as reason:
            outcomes.append(Outcome(name, "skip", str(reason)))
        except FailedError as reason:
            broken[name] = name
            outcomes.append(Outcome(name, "fail", str(reason)))
        except Exception as error:  # the plugin's own code: whatever it raises is what the check found
            broken[name] = name
            outcomes.append(Outcome(name, "fail", told(error, folder), traceback.format_exc()))
    return outcomes
