"""What many seeds came to: one row each, and what they add up to."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import evertoken
from evertoken.testing import SITUATIONS
from evertoken_transports.tools._simulate.choices import Choices

_YEAR = 365 * 86_400.0
_ENOUGH_DAYS = 100.0
"""From so many seeds on, each of at least one hostile day, every named situation must have come about."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A law that a seed broke, and the command that breaks it again."""

    seed: int
    law: str
    client: int
    at: float
    rerun: str


@dataclass(frozen=True, slots=True)
class Row:
    """What is kept of one seed: enough to see whether a run of it by itself comes to the same."""

    digest: str = ""
    """The first 16 hexadecimal digits of the run's digest; empty if the simulation raised an exception."""
    simulated_seconds: float = 0.0
    events: int = 0
    steps: int = 0
    token_requests: int = 0
    api_calls: int = 0
    cpu_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class SeedResult:
    """What one seed came to. ``seen`` counts the situations that came about in it."""

    seed: int
    row: Row
    seen: dict[str, int] = field(compare=False)
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class Campaign:
    """What is to be run. Two campaigns are equal only if they would come to the same digest."""

    seeds: str
    choices: Choices
    commit: str | None
    commit_seed: int | None
    double_check: bool
    code: str
    """SHA-256 of the sources of ``evertoken``, as :func:`this_code` gives it."""


def this_code() -> str:
    """SHA-256 of the sources of ``evertoken``: what was run, even where no commit says so."""
    root = Path(evertoken.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py"), key=lambda path: path.relative_to(root).as_posix()):
        source = path.read_bytes().replace(b"\r\n", b"\n")
        digest.update(f"{path.relative_to(root).as_posix()} {len(source)}\n".encode() + source)
    return digest.hexdigest()


class Record:
    """The results so far. The order in which they come leaves no trace in it."""

    def __init__(self, campaign: Campaign) -> None:
        self.campaign = campaign
        self.seen: Counter[str] = Counter()
        self.failures: dict[int, Failure] = {}
        self.wall_seconds = 0.0
        self.rows: dict[int, Row] = {}

    def add(self, result: SeedResult) -> None:
        """Take in what one seed came to."""
        self.seen.update(result.seen)
        if result.failure is not None:
            self.failures[result.seed] = result.failure
        self.rows[result.seed] = result.row

    def left_of(self, seeds: Iterable[int]) -> list[int]:
        """Those of ``seeds`` that have not been run yet."""
        return [seed for seed in seeds if seed not in self.rows]

    @property
    def runs(self) -> int:
        """How many seeds have been run."""
        return len(self.rows)

    @property
    def hostile_years(self) -> float:
        """Simulated years in which things went wrong, without what came after them to see everybody recover."""
        return self.runs * self.campaign.choices.days * 86_400.0 / _YEAR

    def total(self, what: str) -> float:
        """The sum of one of the figures of all results."""
        return math.fsum(getattr(row, what) for row in self.rows.values())

    @property
    def speed(self) -> float:
        """Simulated seconds in a second of one core."""
        return self.total("simulated_seconds") / max(self.total("cpu_seconds"), 1e-9)

    @property
    def digest(self) -> str:
        """SHA-256 of the digests of all rows, by seed."""
        lines = (f"{seed} {self.rows[seed].digest}\n" for seed in sorted(self.rows))
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    @property
    def missing(self) -> list[str]:
        """The named situations that never came about."""
        return [situation for situation in SITUATIONS if not self.seen[situation]]

    @property
    def is_hostile_enough(self) -> bool:
        """False if a named situation never came about in a campaign long enough for all of them."""
        choices = self.campaign.choices
        swarm = choices.faults == "swarm" and choices.days >= 1.0 and self.runs >= _ENOUGH_DAYS
        return not (swarm and self.missing)

    @property
    def ok(self) -> bool:
        """Whether every law held, and enough came about to put them to the test."""
        return not self.failures and self.is_hostile_enough

    def sums(self) -> dict[str, Any]:
        """What the rows add up to, for people and for whoever checks them."""
        return {
            "ok": self.ok,
            "runs": self.runs,
            "hostile_years": round(self.hostile_years, 6),
            "simulated_years": round(self.total("simulated_seconds") / _YEAR, 6),
            **{name: round(self.total(name)) for name in ("events", "steps", "token_requests", "api_calls")},
            "cpu_seconds": round(self.total("cpu_seconds"), 1),
            "times_real_time": round(self.speed),
            "digest": self.digest,
            "missing": self.missing,
        }
