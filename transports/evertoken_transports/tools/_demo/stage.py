"""The stage: the emulator, the callers and their auth, and a watcher who is told what is to be seen."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from evertoken import Explanation, Freshness, RequestState
from evertoken.testing import Arrival, Route
from evertoken_transports._events import (
    EndpointBlocked,
    EndpointUnblocked,
    Event,
    RequestFailed,
    TokenDropped,
    TokenGranted,
)
from evertoken_transports.emulator import Emulator
from evertoken_transports.threads import TokenSource
from evertoken_transports.tools._demo.callers import Callers, Tally
from evertoken_transports.tools._demo.rigs import Sabotage, rigs_for
from evertoken_transports.tools._demo.story import Span, Story

_TICK = 0.125
"""Seconds between two snapshots."""
_NOTES = 200


class Note(NamedTuple):
    """Something that the machine announced, in few words, and when."""

    seq: int
    at: float
    text: str
    is_alarm: bool


class Snapshot(NamedTuple):
    """What is to be seen at one moment. Durations and moments are seconds of the story."""

    elapsed: float
    span: Span
    explanation: Explanation
    tally: Tally
    granted: int
    turned_away: int
    needed: int
    notes: tuple[Note, ...]

    @property
    def is_live(self) -> bool:
        """Whether a token is at hand."""
        return self.explanation.freshness in (Freshness.VALID, Freshness.REFRESH_DUE)

    @property
    def is_blocked(self) -> bool:
        """Whether the token endpoint is blocked."""
        return self.explanation.request_state is RequestState.BLOCKED


class Watcher(Protocol):
    """Shows the demo to somebody."""

    def show(self, snapshot: Snapshot) -> None:
        """Show ``snapshot``. This is called several times a second while the story lasts."""
        ...


def perform(story: Story, watcher: Watcher, sabotage: Sabotage | None = None) -> Sequence[Arrival]:
    """Play ``story`` in real time. Returns the emulator's log.

    Raises:
        OSError: the emulator cannot listen.
        KeyboardInterrupt: the user has had enough; everything is closed.
    """
    with Emulator(story.script) as emulator:
        notes = Notes(emulator.now)
        rigs = rigs_for(story, emulator.grant(), notes.take, sabotage)
        with Callers(rigs, story.threads) as callers:
            look = _Lookout(story, emulator, rigs[0].source, callers, notes)
            pause = threading.Event()
            while (elapsed := emulator.now()) < story.seconds:
                watcher.show(look.at(elapsed))
                pause.wait(_TICK)
            callers.finish(story.patience)
            watcher.show(look.at(story.seconds))
            return emulator.arrivals


class _Lookout(NamedTuple):
    """Makes snapshots. With sabotage there may be several machines, of which the first is shown."""

    story: Story
    emulator: Emulator
    source: TokenSource
    callers: Callers
    notes: Notes

    def at(self, elapsed: float) -> Snapshot:
        requests = [arrival for arrival in self.emulator.arrivals if arrival.route is Route.TOKEN]
        granted = sum(arrival.token_number is not None for arrival in requests)
        return Snapshot(
            elapsed=elapsed,
            span=self.story.span_at(elapsed),
            explanation=self.source.explain(),
            tally=self.callers.tally,
            granted=granted,
            turned_away=len(requests) - granted,
            needed=self.story.tokens_needed(elapsed),
            notes=self.notes.all,
        )


class Notes:
    """The machine's events, as far as people want to read them. ``now`` gives the seconds of the story."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._count = 0
        self._kept: deque[Note] = deque(maxlen=_NOTES)

    def take(self, event: Event) -> None:
        """Note ``event``. This is the ``on_event``."""
        text = _told(event)
        if text is None:
            return
        with self._lock:
            self._kept.append(Note(self._count, self._now(), text, isinstance(event, EndpointBlocked)))
            self._count += 1

    @property
    def all(self) -> tuple[Note, ...]:
        """The notes so far, oldest first."""
        with self._lock:
            return tuple(self._kept)


def _told(event: Event) -> str | None:
    match event:
        case EndpointBlocked(kind=kind, seconds=seconds):
            return f"blocked: {kind.value}, no token request for {seconds:.1f} s"
        case EndpointUnblocked(kind=kind):
            return f"no longer blocked: {kind.value}"
        case RequestFailed(retry_in=seconds, problem=problem):
            return f"token request failed ({problem.status or 'no answer'}), next try in {seconds:.1f} s"
        case TokenGranted(refresh_in=seconds):
            return f"token granted, next one due in {seconds:.1f} s"
        case TokenDropped():
            return "the API rejected the token: dropped, another is asked for"
        case _:
            return None
