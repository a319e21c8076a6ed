"""The outcome of a check of the conformance suite."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, NoReturn

from mcsr_bench.errors import UserError

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


def run_checks(checks: Mapping[str, Check], needs: Mapping[str, tuple[str, ...]]) -> list[Outcome]:
    """Every check in turn; whatever one raises is its outcome, and the others go on.

    needs: by check, the earlier checks without which it would only repeat their failure: it is skipped when one of them failed,
    or was itself skipped for that reason.
    """
    outcomes: list[Outcome] = []
    broken: set[str] = set()
    for name, check in checks.items():
        missing = [n for n in needs.get(name, ()) if n in broken]
        if missing:
            broken.add(name)
            outcomes.append(Outcome(name, "skip", f"not run, because '{missing[0]}' did not pass"))
            continue
        try:
            outcomes.append(Outcome(name, "pass", check()))
        except SkippedError as reason:
            outcomes.append(Outcome(name, "skip", str(reason)))
        except FailedError as reason:
            broken.add(name)
            outcomes.append(Outcome(name, "fail", str(reason)))
        except Exception as error:  # the plugin's own code: whatever it raises is what the check found
            broken.add(name)
            outcomes.append(Outcome(name, "fail", _sentence(error)))
    return outcomes


def _sentence(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    if isinstance(error, UserError):  # a sentence already
        return str(error)
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
