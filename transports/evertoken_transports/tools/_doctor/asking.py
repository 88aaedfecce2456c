"""The token request: one at most, by the machine and the store that all others go by, so that its token serves them.

Where the store has a token, or a block that stands, nobody is asked.
"""

from __future__ import annotations

import math
import ssl
import time
from dataclasses import dataclass

from evertoken import ClientCredentials, HttpResponse, Problem, ProblemKind, TokenRequest, TokenUnavailable, Wait
from evertoken.sharing import Store
from evertoken_transports._events import Event, StoreReported
from evertoken_transports._exchange import NotNow
from evertoken_transports.h11 import H11Exchange
from evertoken_transports.threads import TokenSource
from evertoken_transports.tools._doctor.finding import LATER, Finding, Level
from evertoken_transports.tools._doctor.network import Heard
from evertoken_transports.tools._doctor.places import STORE, Place

TOKEN, OTHER = "token", "other environment"

_PATIENCE = 0.4
"""Seconds that the caller is willing to wait. One attempt is started and carried to its end, however long that takes;
for another it would have to wait for a back-off, which is longer than this."""

_STATUSES = {
    ProblemKind.CREDENTIALS_REFUSED: 3,
    ProblemKind.REQUEST_REFUSED: 3,
    ProblemKind.LOCKED: 4,
    ProblemKind.RATE_LIMITED: 5,
}
_WITHOUT_STORE = Problem(ProblemKind.POSTPONED, "the store cannot be used", "Mend the store first.")


class Once:
    """An exchange that sends one request, and none at all if it ``may`` not."""

    def __init__(self, context: ssl.SSLContext | None, *, may: bool) -> None:
        self._exchange = H11Exchange(ssl_context=context)
        self._may = may
        self.sent = 0
        self.heard: Heard | None = None

    def __call__(self, request: TokenRequest, /) -> HttpResponse:
        """Send ``request``; return the answer."""
        if self.sent or not self._may:
            raise NotNow(request.deadline)
        self.sent = 1
        before = time.time()
        response = self._exchange(request)
        # Of the answer only its headers are kept: a token is in its body.
        self.heard = Heard(before, HttpResponse(response.status, response.headers), time.time())
        return response


@dataclass(frozen=True, slots=True)
class Asked:
    """What came of asking for a token, beside what was found of the store.

    ``left`` are the seconds of life that a token in hand has, ``wait`` those until another request may be made.
    """

    place: Place
    sent: int = 0
    left: float | None = None
    problem: Problem | None = None
    wait: float = 0.0
    notes: tuple[str, ...] = ()

    @property
    def is_refused(self) -> bool:
        """Whether the endpoint does not take these credentials."""
        return self.problem is not None and self.problem.kind is ProblemKind.CREDENTIALS_REFUSED


def ask(grant: ClientCredentials, store: Store, place: Place, keys: list[str], once: Once) -> Asked:
    """Ask for a token, unless the store knows better or is not to be had."""
    record = place.record
    if not place.is_usable:
        return Asked(place, problem=_WITHOUT_STORE)
    if record is not None and record.block is not None and place.now < record.block.ends:
        return Asked(place, problem=record.block.problem, wait=record.block.ends - place.now)
    notes = list[str]()

    def note(event: Event) -> None:
        if isinstance(event, StoreReported):
            notes.append(event.note)

    with TokenSource(
        grant, exchange=once, store=store, keys=keys, store_required=True, background=False, on_event=note
    ) as source:
        left, why = None, None
        try:
            left = source.token(_PATIENCE).seconds_left
        except TokenUnavailable as error:
            why = error.problem
        told = source.coordinator.explain()
    until = [told.now, *(end for _, end in told.blocks), *([told.next.until] if isinstance(told.next, Wait) else [])]
    return Asked(place, once.sent, left, told.problem or why, max(until) - told.now, tuple(notes))


def of_token(asked: Asked, in_the_way: str, there: str, *, tells_apart: bool) -> Finding:
    """The finding on the token. ``there`` is the name of the other environment, where there is one.

    ``tells_apart`` says that the other environment is asked as well, if this one refuses the credentials.
    """
    problem = asked.problem
    if not asked.place.is_usable or (problem is not None and problem.kind is ProblemKind.POSTPONED and in_the_way):
        return Finding(TOKEN, Level.SKIPPED, f"none was asked for: {in_the_way or STORE} is in the way, see above")
    if problem is None:
        assert asked.left is not None  # noqa: S101 (one or the other)
        how = "granted, and kept in the store for all" if asked.sent else "in the store already, so none was asked for"
        return Finding(TOKEN, Level.OK, f"{how}; good for {asked.left:.0f} s")
    found = " ".join((_said(problem), *asked.notes))
    if not asked.sent:
        found += "; the store says so, and no request was made"
    if asked.left is not None:
        found += f"; the token in hand is good for another {asked.left:.0f} s"
    todo = _todo(asked, problem, there, tells_apart=tells_apart)
    return Finding(TOKEN, Level.PROBLEM, found, todo, _STATUSES.get(problem.kind, LATER))


def not_of_other(asked: Asked, in_the_way: str, there: str) -> Finding:
    """The finding that the other environment was not asked, and why."""
    why = f"{in_the_way} is in the way, see above" if asked.is_refused else "the credentials were not refused"
    return Finding(OTHER, Level.SKIPPED, f"{there} was not asked: {why}")


def of_other(asked: Asked, here: str, there: str) -> Finding:
    """The finding on what the other environment says to credentials that this one refuses."""
    if asked.problem is None:
        return Finding(
            OTHER,
            Level.PROBLEM,
            f"{there} grants a token to these credentials: they are not wrong, but of that environment",
            f"Ask {there} with them, or take a key of {here}.",
            3,
        )
    if asked.is_refused:
        return Finding(
            OTHER,
            Level.PROBLEM,
            f"{there} refuses these credentials as well: it is not the environment, but the key or the client id",
            "Take the client id and a new key from the provider: this one was mistyped, reset or revoked, or is a "
            "password in its place.",
            3,
        )
    return Finding(OTHER, Level.WARNING, f"{there} could not say: {_said(asked.problem)}", asked.problem.advice)


def _said(problem: Problem) -> str:
    return f'{problem.summary} (the server said: "{problem.detail}")' if problem.detail else problem.summary


def _todo(asked: Asked, problem: Problem, there: str, *, tells_apart: bool) -> str:
    parts = [problem.advice]
    if asked.is_refused:
        elsewhere = f"of another environment{f' ({there})' if there else ''}"
        how = "see below" if tells_apart else "--other-environment spends one more token request to tell which"
        parts.insert(0, f"Two causes look alike: the credentials are wrong, or they are those {elsewhere}; {how}.")
    if asked.wait > 0:
        parts.append(f"No token request is made for another {math.ceil(asked.wait)} s.")
    if _STATUSES.get(problem.kind) in (3, 4):
        parts.append("Once the cause is mended: evertoken unblock, with the same arguments.")
    return " ".join(filter(None, parts))
