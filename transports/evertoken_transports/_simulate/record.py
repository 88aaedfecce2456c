"""What many seeds came to: one result each, what they add up to, and the file from which a campaign goes on."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, cast

import evertoken
from evertoken.testing import SITUATIONS
from evertoken_transports._simulate.choices import ChoiceError, Choices

__all__ = ("Campaign", "Failure", "Record", "SeedResult", "this_code")

_FORMAT = 1
_YEAR = 365 * 86_400.0
_ENOUGH_DAYS = 100.0
"""From so many hostile days on, in as many seeds, every named situation must have come about."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A law that a seed broke, and the command that breaks it again."""

    seed: int
    law: str
    client: int
    at: float
    rerun: str


@dataclass(frozen=True, slots=True)
class SeedResult:
    """What one seed came to. ``seen`` counts the situations that came about in it."""

    seed: int
    digest: str
    simulated_seconds: float
    events: int
    steps: int
    token_requests: int
    api_calls: int
    cpu_seconds: float
    seen: dict[str, int] = field(compare=False)
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class Campaign:
    """What is to be run. Two of them are one if they would come to the same digest."""

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


def _version() -> str:
    try:
        return importlib.metadata.version("evertoken")
    except importlib.metadata.PackageNotFoundError:
        return "from its sources"


class Record:
    """The results so far. The order in which they come leaves no trace in it."""

    def __init__(self, campaign: Campaign) -> None:
        self.campaign = campaign
        self.seen: Counter[str] = Counter()
        self.failures: dict[int, Failure] = {}
        self.wall_seconds = 0.0
        self._results: dict[int, dict[str, Any]] = {}

    def add(self, result: SeedResult) -> None:
        """Take in what one seed came to."""
        row = asdict(result)
        self.seen.update(row.pop("seen"))
        if row.pop("failure") is not None and result.failure is not None:
            self.failures[result.seed] = result.failure
        self._results[result.seed] = row

    def left_of(self, seeds: Iterable[int]) -> list[int]:
        """Those of ``seeds`` that have not been run yet."""
        return [seed for seed in seeds if seed not in self._results]

    @property
    def runs(self) -> int:
        """How many seeds have been run."""
        return len(self._results)

    @property
    def hostile_years(self) -> float:
        """Simulated years in which things went wrong, without what came after them to see everybody recover."""
        return self.runs * self.campaign.choices.days * 86_400.0 / _YEAR

    def total(self, what: str) -> float:
        """The sum of one of the figures of all results."""
        return sum(float(row[what]) for row in self._results.values())

    @property
    def speed(self) -> float:
        """Simulated seconds in a second of one core."""
        return self.total("simulated_seconds") / max(self.total("cpu_seconds"), 1e-9)

    @property
    def digest(self) -> str:
        """SHA-256 of the digests of all traces, by seed."""
        lines = (f"{seed} {self._results[seed]['digest']}\n" for seed in sorted(self._results))
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

    # The file
    # --------

    def as_data(self, *, whole: bool) -> dict[str, Any]:
        """Everything, for the file."""
        return {
            "format": _FORMAT,
            "evertoken": _version(),
            "python": f"{platform.python_implementation()} {platform.python_version()}",
            "platform": f"{platform.system()} {platform.machine()}",
            "campaign": asdict(self.campaign),
            "whole": whole,
            "ok": self.ok,
            "runs": self.runs,
            "hostile_years": round(self.hostile_years, 6),
            "simulated_years": round(self.total("simulated_seconds") / _YEAR, 6),
            **{name: round(self.total(name)) for name in ("events", "steps", "token_requests", "api_calls")},
            "cpu_seconds": round(self.total("cpu_seconds"), 1),
            "wall_seconds": round(self.wall_seconds, 1),
            "times_real_time": round(self.speed),
            "digest": self.digest,
            "failures": [asdict(self.failures[seed]) for seed in sorted(self.failures)],
            "missing": self.missing,
            "situations": dict(sorted(self.seen.items())),
        }

    def write(self, path: Path, *, whole: bool) -> None:
        """Write the file whole or not at all: one line for each seed, behind what they add up to."""
        head = json.dumps(self.as_data(whole=whole), indent=2)[: -len("\n}")]
        rows = ",\n".join(f"    {json.dumps(self._results[seed])}" for seed in sorted(self._results))
        beside = path.with_name(f".{path.name}.{os.getpid()}")
        beside.write_text(f'{head},\n  "results": [\n{rows}\n  ]\n}}\n', encoding="utf-8")
        beside.replace(path)

    @classmethod
    def continued(cls, path: Path, campaign: Campaign) -> Record:
        """The record in the file, to go on with; an empty one if there is no file.

        Raises:
            ChoiceError: the file is none of ours, or of another campaign.
            OSError: it cannot be read.
        """
        record = cls(campaign)
        if not path.exists():
            return record
        try:
            data = cast("dict[str, Any]", json.loads(path.read_text(encoding="utf-8")))
            record._take_over(data, path)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            if isinstance(error, ChoiceError):
                raise
            raise ChoiceError(f"--out: {path} is there, and is no record of simulate: {error!r}") from None
        return record

    def _take_over(self, data: dict[str, Any], path: Path) -> None:
        if data["format"] != _FORMAT:
            raise ChoiceError(f"--out: {path} has format {data['format']}, not {_FORMAT}: give another file")
        theirs, ours = data["campaign"], asdict(self.campaign)
        differing = [name for name in ours if theirs[name] != ours[name]]
        if differing:
            told = ", ".join(f"{name} was {theirs[name]!r} and is {ours[name]!r}" for name in differing)
            raise ChoiceError(f"--out: {path} holds another campaign ({told}): give another file, or remove it")
        self.seen.update(data["situations"])
        self.failures = {failure["seed"]: Failure(**failure) for failure in data["failures"]}
        self.wall_seconds = data["wall_seconds"]
        self._results = {row["seed"]: row for row in data["results"]}
