"""``evertoken simulate --seeds``: run them, keep what they came to in a file, and say what that is."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from evertoken_transports.tools._simulate.campaign import run_seeds
from evertoken_transports.tools._simulate.choices import Choices, commit_seed, read_seeds, spelt_seeds
from evertoken_transports.tools._simulate.files import check_writable
from evertoken_transports.tools._simulate.interrupts import interrupts_deferred
from evertoken_transports.tools._simulate.progress import following
from evertoken_transports.tools._simulate.record import Campaign, Record, SeedResult, this_code
from evertoken_transports.tools._simulate.stored import read_record, write_record

_SECONDS_BETWEEN_WRITES = 60.0


@dataclass(frozen=True, slots=True)
class Many:
    """What the command was asked for."""

    choices: Choices
    seeds: str
    jobs: int
    commit: str | None = None
    out: Path | None = None
    double_check: bool = False
    quiet: bool = False

    def campaign(self) -> tuple[Campaign, tuple[int, ...]]:
        """The campaign that was asked for, and every seed of it."""
        seeds = read_seeds(self.seeds)
        extra = None if self.commit is None else commit_seed(self.commit)
        everything = tuple(dict.fromkeys(seeds if extra is None else (extra, *seeds)))
        campaign = Campaign(spelt_seeds(seeds), self.choices, self.commit, extra, self.double_check, this_code())
        return campaign, everything


def run_many(many: Many, console: Console) -> Record:
    """Run the campaign, or what is left of it, and keep the record, which an interrupt does not lose.

    Raises:
        ChoiceError: an option cannot be carried out, or the file cannot be written or is of another campaign.
        KeyboardInterrupt: the user has interrupted it; what was run so far is in the file.
        WorkerLost: a process has disappeared; what was run so far is in the file.
        OSError: the file cannot be read or written.
    """
    campaign, seeds = many.campaign()
    record = Record(campaign)
    if many.out is not None:  # The file is tried before hours are spent.
        check_writable("--out", many.out)
        record = read_record(many.out, campaign, seeds)
        write_record(many.out, record, whole=not record.left_of(seeds))
    keep = _Keeper(record, many.out)
    try:
        with following(console, len(seeds), quiet=many.quiet) as tell:
            for result in _results(many, record.left_of(seeds)):
                with interrupts_deferred():
                    record.add(result)
                    tell(record.runs, _so_far(record, len(seeds)))
                    keep.now_and_then()
    finally:
        with interrupts_deferred():
            keep(whole=not record.left_of(seeds))
    return record


def _results(many: Many, seeds: list[int]) -> Iterator[SeedResult]:
    with closing(run_seeds(many.choices, seeds, jobs=many.jobs, twice=many.double_check)) as results:
        yield from results


class _Keeper:
    """Writes the record down now and then, with the time that it took."""

    def __init__(self, record: Record, path: Path | None) -> None:
        self._record = record
        self._path = path
        self._since = self._written = time.monotonic()

    def now_and_then(self) -> None:
        if time.monotonic() >= self._written + _SECONDS_BETWEEN_WRITES:
            self(whole=False)

    def __call__(self, *, whole: bool) -> None:
        now = time.monotonic()
        self._record.wall_seconds += now - self._since
        self._since = self._written = now
        if self._path is not None:
            write_record(self._path, self._record, whole=whole)


def _so_far(record: Record, count: int) -> str:
    failures = f", {len(record.failures)} FAILED" if record.failures else ""
    years = record.hostile_years
    time = f"{years:,.1f} hostile years" if years >= 1.0 else f"{years * 365:,.0f} hostile days"
    return f"{record.runs:,} of {count:,} seeds, {time}{failures}"
