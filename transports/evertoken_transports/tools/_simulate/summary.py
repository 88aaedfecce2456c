"""What was simulated and what it came to, in lines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from evertoken.testing.world._checks import GAVE_UP
from evertoken_transports.tools._simulate.record import Record

_SHOWN_FAILURES = 10
_WIDE = 110
_YEAR = 365 * 86_400.0


def many_lines(record: Record, out: Path | None) -> Iterator[str]:
    """The summary of a campaign."""
    campaign = record.campaign
    choices = campaign.choices
    clients = "" if choices.clients is None else f", {choices.clients} clients each"
    extra = "" if campaign.commit_seed is None else f" and {campaign.commit_seed} (from commit {campaign.commit})"
    twice = ", each run twice" if campaign.double_check else ""
    yield f"seeds           {campaign.seeds}{extra}{twice}"
    yield f"each            {choices.days:g} days{clients}, faults: {choices.faults}"
    in_all = record.total("simulated_seconds") / _YEAR
    yield f"simulated       {record.hostile_years:,.2f} hostile years; {in_all:,.2f} with the recovery from them"
    yield (
        f"events          {record.total('events'):,.0f}, {record.total('token_requests'):,.0f} token requests,"
        f" {record.total('api_calls'):,.0f} API calls, {record.total('steps'):,.0f} steps held to every law"
    )
    cpu = record.total("cpu_seconds")
    yield (
        f"speed           {cpu:,.0f} CPU seconds: {record.speed:,.0f} times real time and"
        f" {record.total('events') / max(cpu, 1e-9):,.0f} events/s on one core"
    )
    yield f"digest          {record.digest}"
    yield from unserved_lines(record.seen, held=not record.failures)
    yield from situation_lines(record.seen)
    yield from listed("never", record.missing)
    if out is not None:
        yield f"written         {out}"
    yield from _verdict(record)


def _verdict(record: Record) -> Iterator[str]:
    failures = [record.failures[seed] for seed in sorted(record.failures)]
    for failure in failures[:_SHOWN_FAILURES]:
        yield f"FAILED          seed {failure.seed}: {failure.law} (client {failure.client}, at {failure.at:.3f} s)"
        yield f"                {failure.rerun}"
    if len(failures) > _SHOWN_FAILURES:
        yield f"                and {len(failures) - _SHOWN_FAILURES} more seeds"
    if not record.is_hostile_enough:
        yield f"FAILED          never came about: {', '.join(record.missing)}"
    if record.ok:
        yield f"laws            all held, in {record.runs:,} of {record.runs:,} seeds"


def unserved_lines(seen: Mapping[str, int], *, held: bool) -> Iterator[str]:
    """How many calls went without a token, and that none of them had to, if every law was ``held``."""
    calls = seen.get(GAVE_UP, 0)
    if calls:
        allowed = ", none of them while one could be had" if held else ""
        yield f"without token   {calls:,} calls{allowed}"


def situation_lines(seen: Mapping[str, int]) -> Iterator[str]:
    """What else came about, by kind."""
    kinds: dict[str, list[str]] = {}
    for situation, count in sorted(seen.items(), key=lambda item: (-item[1], item[0])):
        kind, colon, rest = situation.partition(": ")
        if situation != GAVE_UP:
            kinds.setdefault(kind if colon else "also", []).append(f"{rest or kind} {count:,}")
    for kind in sorted(kinds, key=lambda kind: (kind == "also", kind)):
        yield from listed(kind, kinds[kind])


def listed(name: str, pieces: Iterable[str]) -> Iterator[str]:
    """The pieces in lines of a readable length, behind their name; nothing if there are none."""
    line = head = f"{name:<16}"
    for piece in pieces:
        if line != head and len(line) + len(piece) + 2 > _WIDE:
            yield line.rstrip()
            line = " " * len(head)
        line += piece if not line.strip() or line == head else f", {piece}"
    if line != head:
        yield line
