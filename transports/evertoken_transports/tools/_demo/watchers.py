"""How a demo is watched without a terminal: in plain lines, or not at all; and the verdict in plain text."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from evertoken import Policy, Wait
from evertoken_transports.tools._demo.stage import Snapshot
from evertoken_transports.tools._demo.story import Story, Weather
from evertoken_transports.tools._demo.verdict import Ruling, Verdict

Write = Callable[[str], object]

WEATHERS = {
    Weather.FAIR: "fair weather",
    Weather.OUTAGE: "outage: the token endpoint answers 500",
    Weather.RATE_LIMIT: "rate limit: it answers 429, Retry-After: 1",
    Weather.REVOKED: "every token so far has been revoked",
    Weather.LOCK: "lock: it answers 400 unauthorized_client",
    Weather.RECOVERY: "fair weather again",
}


class Silence:
    """A watcher that shows nothing."""

    def show(self, snapshot: Snapshot) -> None:
        """Show nothing."""


class PlainWatcher:
    """A line for each change of the weather, each note, and each second."""

    def __init__(self, write: Write) -> None:
        self._write = write
        self._weather: Weather | None = None
        self._notes = 0
        self._second = -1

    def show(self, snapshot: Snapshot) -> None:
        """Write what is new."""
        if snapshot.span.weather is not self._weather:
            self._weather = snapshot.span.weather
            self._write(f"{snapshot.span.at:5.1f} s  -- {WEATHERS[self._weather]} --")
        for note in snapshot.notes:
            if note.seq >= self._notes:
                self._notes = note.seq + 1
                self._write(f"{note.at:5.1f} s  {'! ' if note.is_alarm else '  '}{note.text}")
        if int(snapshot.elapsed) > self._second:
            self._second = int(snapshot.elapsed)
            self._write(f"{snapshot.elapsed:5.1f} s  {token_of(snapshot)}; {next_of(snapshot)}")
            self._write(f"{'':9}calls {calls_of(snapshot)}; {requests_of(snapshot)}")


def token_of(snapshot: Snapshot) -> str:
    """The state in the one word that people read, and what it means to callers."""
    explanation = snapshot.explanation
    word = explanation.state.value.upper()
    if not snapshot.is_live or explanation.fresh_until is None:
        return f"{word}, no token at hand"
    return f"{word}, a token is handed out for {explanation.fresh_until - explanation.now:.1f} s"


def next_of(snapshot: Snapshot) -> str:
    """When a token request may be made."""
    explanation = snapshot.explanation
    if isinstance(explanation.next, Wait):
        seconds = explanation.next.until - explanation.now
        return f"no token request for {seconds:.1f} s ({explanation.next.reason.value})"
    return f"a token request may be made ({explanation.next.reason.value})"


def calls_of(snapshot: Snapshot) -> str:
    """How the callers fare."""
    tally = snapshot.tally
    names = [name for name, _ in tally.failures]
    why = f" ({names[0]}{', ...' if names[1:] else ''})" if names else ""
    return f"{tally.served:,} served, {tally.waiting} waiting, {tally.failed} failed{why}"


def requests_of(snapshot: Snapshot) -> str:
    """What the token endpoint has seen, and the most tokens that are needed in fair weather, to compare."""
    granted, turned_away = snapshot.granted, snapshot.turned_away
    asked = f"{granted + turned_away} token request{'s' if granted + turned_away != 1 else ''}"
    return f"{asked}: {granted} granted (ideal: {snapshot.needed}), {turned_away} turned away"


def intro(story: Story) -> Iterator[str]:
    """What is about to be shown, and the policy as far as it is not the default one."""
    yield (
        f"{story.threads} threads, one BearerAuth, tokens that live {story.lifetime} s. The policy, shrunk to match:"
    )
    default = Policy()
    names = [name for name in Policy.__slots__ if getattr(story.policy, name) != getattr(default, name)]
    shown = [f"{name}={getattr(story.policy, name):g}" for name in names]
    line = ""
    for entry in shown:
        if line and len(line) + len(entry) > 74:
            yield f"  {line}"
            line = ""
        line = f"{line}, {entry}" if line else entry
    yield f"  {line}"


_MARKS = {Ruling.KEPT: "kept", Ruling.BROKEN: "BROKEN", Ruling.UNTESTED: "untested"}


def verdict_lines(verdict: Verdict) -> Iterator[str]:
    """The verdict as a table in plain text."""
    heading = None
    yield f"{'promise':<48}{'measured':>11}{'allowed':>11}  verdict"
    for finding in verdict.findings:
        if finding.heading != heading:
            heading = finding.heading
            yield heading
        yield f"  {finding.promise:<46}{finding.measured:>11}{finding.allowed:>11}  {_MARKS[finding.ruling]}"
    yield str(verdict)
