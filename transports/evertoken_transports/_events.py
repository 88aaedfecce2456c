"""What happened, for metrics and logs: a closed set of typed values. None holds a secret or a token."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar, assert_never

from evertoken import (
    Abandoned,
    BlockKind,
    Failed,
    Granted,
    Malformed,
    Outcome,
    Problem,
    ProblemKind,
    Rejection,
    State,
    happenings,
)
from evertoken.happenings import Happening

__all__ = (
    "CredentialsReplaced",
    "EndpointBlocked",
    "EndpointUnblocked",
    "Event",
    "EventCallback",
    "RequestAbandoned",
    "RequestFailed",
    "RequestNotSigned",
    "RequestStarted",
    "StoreLooked",
    "StoreReported",
    "TokenDropped",
    "TokenGranted",
    "TokenKept",
)

_T = TypeVar("_T")

logger = logging.getLogger("evertoken")
logger.addHandler(logging.NullHandler())  # Where nobody set up logging, nothing is printed behind their back.


@dataclass(frozen=True, slots=True)
class RequestStarted:
    """A token request is about to be sent."""

    client_id: str
    attempt: int

    def __str__(self) -> str:
        return f"{self.client_id}: token request {self.attempt} started"


@dataclass(frozen=True, slots=True)
class StoreLooked:
    """A shared store is about to be looked into. Only if nothing is found there, a :class:`RequestStarted` follows."""

    client_id: str
    attempt: int

    def __str__(self) -> str:
        return f"{self.client_id}: look {self.attempt} into the shared store"


@dataclass(frozen=True, slots=True)
class TokenGranted:
    """A token arrived. Seconds from now: until the next one is due, and until this one is no longer handed out.

    ``asked`` is False if it was found in a shared store: then no token request was made for it here.
    """

    client_id: str
    refresh_in: float
    fresh_for: float
    asked: bool = True

    def __str__(self) -> str:
        how = "granted" if self.asked else "found in the shared store"
        return f"{self.client_id}: token {how}, good for {self.fresh_for:.1f} s, next due in {self.refresh_in:.1f} s"


@dataclass(frozen=True, slots=True)
class RequestFailed:
    """A token request came to nothing; no other starts for ``retry_in`` seconds."""

    client_id: str
    retry_in: float
    problem: Problem | None

    def __str__(self) -> str:
        return f"{self.client_id}: token request failed, next try in {self.retry_in:.1f} s. {self.problem}"


@dataclass(frozen=True, slots=True)
class RequestAbandoned:
    """Whoever carried a token request was cancelled. That costs nothing but budget, and is no failure."""

    client_id: str

    def __str__(self) -> str:
        return f"{self.client_id}: token request abandoned by its carrier"


@dataclass(frozen=True, slots=True)
class EndpointBlocked:
    """The token endpoint is not to be asked for ``seconds``: it locked, refused, limited, or answered unclearly."""

    client_id: str
    kind: BlockKind
    seconds: float
    problem: Problem

    def __str__(self) -> str:
        return f"{self.client_id}: {self.kind.value}; no token request for {self.seconds:.1f} s. {self.problem}"


@dataclass(frozen=True, slots=True)
class EndpointUnblocked:
    """A block is over: by a grant, new credentials, the operator's word, or because its time had passed."""

    client_id: str
    kind: BlockKind

    def __str__(self) -> str:
        return f"{self.client_id}: no longer {self.kind.value}"


@dataclass(frozen=True, slots=True)
class TokenDropped:
    """An API rejected the token in hand, and it was believed."""

    client_id: str

    def __str__(self) -> str:
        return f"{self.client_id}: the API rejected the token; it was dropped, and another is asked for"


@dataclass(frozen=True, slots=True)
class TokenKept:
    """An API rejected a token, and the one in hand stays: the word was not believed, or was about an older one."""

    client_id: str
    verdict: Rejection

    def __str__(self) -> str:
        return f"{self.client_id}: the API rejected a token; the one in hand is kept ({self.verdict.value})"


@dataclass(frozen=True, slots=True)
class CredentialsReplaced:
    """The next token request uses another secret."""

    client_id: str

    def __str__(self) -> str:
        return f"{self.client_id}: credentials replaced"


@dataclass(frozen=True, slots=True)
class RequestNotSigned:
    """An API request went out without a token, because ``origin`` is not one that tokens may be sent to.

    That of ``api_base`` is, where the grant has one.
    """

    origin: str
    api_base: str | None = None

    def __str__(self) -> str:
        known = "" if self.api_base is None else f" of api_base ({self.api_base}) and those"
        return (
            f"a request to {self.origin} was not signed: tokens go to the origins{known} in origins= only. If it was to"
            " be, take auth.api_base for the client's base_url, or name this origin in origins=; localhost and"
            " 127.0.0.1 are two"
        )


@dataclass(frozen=True, slots=True)
class StoreReported:
    """A shared store is in trouble, or holds what was not believed. Each such thing is told once an hour at most.

    Tokens are had all the same, unless ``store_required`` says otherwise; each process asks for itself meanwhile.
    """

    client_id: str
    note: str

    def __str__(self) -> str:
        return f"{self.client_id}: {self.note}"


Event = (
    RequestStarted
    | StoreLooked
    | TokenGranted
    | RequestFailed
    | RequestAbandoned
    | EndpointBlocked
    | EndpointUnblocked
    | TokenDropped
    | TokenKept
    | CredentialsReplaced
    | RequestNotSigned
    | StoreReported
)

EventCallback = Callable[[Event], object]

_LEVELS: dict[type, int] = {
    EndpointBlocked: logging.WARNING,
    EndpointUnblocked: logging.INFO,
    RequestFailed: logging.INFO,
    StoreReported: logging.WARNING,
    TokenDropped: logging.INFO,
    CredentialsReplaced: logging.INFO,
}


def events_of(client_id: str, state: State, told: tuple[Happening, ...]) -> list[Event]:
    """What is to be said of the ``told`` happenings that led to ``state``."""
    found = (_event_of(client_id, state, happening) for happening in told)
    return [event for event in found if event is not None]


def _event_of(client_id: str, state: State, happening: Happening) -> Event | None:
    match happening:
        case happenings.RequestStarted(number):
            is_shared = state.attempt is not None and state.attempt.tiers
            return (StoreLooked if is_shared else RequestStarted)(client_id, number)
        case happenings.RequestEnded(_, outcome, asked):
            return _event_of_outcome(client_id, state, outcome, asked=asked)
        case happenings.EndpointBlocked(kind, until, problem):
            return EndpointBlocked(client_id, kind, until - state.now, problem)
        case happenings.EndpointUnblocked(kind):
            return EndpointUnblocked(client_id, kind)
        case happenings.RejectionJudged(Rejection.DROPPED):
            return TokenDropped(client_id)
        case happenings.RejectionJudged(verdict):
            return TokenKept(client_id, verdict)
        case happenings.CredentialsReplaced():
            return CredentialsReplaced(client_id)
        case _:
            assert_never(happening)


def _event_of_outcome(client_id: str, state: State, outcome: Outcome, *, asked: bool) -> Event | None:
    """A request that met a block is told by the block; what is stale or ignored is not news."""
    token = state.token
    match outcome:
        case Granted() if token is not None:
            due = max(0.0, token.refresh_at - state.now)
            return TokenGranted(client_id, due, token.fresh_until - state.now, asked=asked)
        case Failed() | Malformed():
            return RequestFailed(client_id, max(0.0, state.backoff.retry_at - state.now), outcome.problem)
        case Abandoned():
            return RequestAbandoned(client_id)
        case _:
            return None


def check_on_event(callback: object) -> None:
    """Raise TypeError unless ``callback`` can be an ``on_event``."""
    if callback is not None:
        check_callback("on_event", callback, "an event, or None")


def check_callback(name: str, callback: object, takes: str) -> None:
    """Raise TypeError, naming ``name``, unless ``callback`` can be called with what it ``takes``."""
    if not callable(callback):
        raise TypeError(f"{name} must be a function that takes {takes}, not {type(callback).__name__}")
    if any(map(inspect.iscoroutinefunction, (callback, getattr(callback, "__call__", None)))):  # noqa: B004
        raise TypeError(f"{name} must be a plain function, not a coroutine function: nobody awaits what it returns")


def log(event: Event, level: int | None = None) -> None:
    """Write ``event`` to the logger ``evertoken``.

    ERROR for a bug in somebody's code, WARNING for a block, INFO for trouble, DEBUG for the rest.
    """
    if isinstance(event, RequestFailed) and event.problem is not None and event.problem.kind is ProblemKind.BUG:
        level = logging.ERROR
    write(_LEVELS.get(type(event), logging.DEBUG) if level is None else level, "%s", event)


def tell(callback: EventCallback, event: Event) -> None:
    """Call ``callback``; whatever it does, the caller goes on."""
    call("on_event", callback, event)


def call(name: str, callback: Callable[[_T], object], argument: _T) -> None:
    """Call ``callback``, which people know by ``name``; whatever it does, the caller goes on."""
    try:
        answer = callback(argument)
    except Exception as error:  # noqa: BLE001 (the embedder's callback may raise anything)
        error.__context__ = None  # What was being handled meanwhile may quote a secret.
        write(logging.ERROR, "%s raised while it was told of %s", name, type(argument).__name__, error=error)
        return
    if inspect.iscoroutine(answer):
        answer.close()
        write(logging.ERROR, "%s must be a plain function: the coroutine that it returned was not run", name)


def write(level: int, text: str, *arguments: object, error: Exception | None = None) -> None:
    """Write to the logger ``evertoken``. What an application's filter raises must not cost a caller its token."""
    with suppress(Exception):
        logger.log(level, text, *arguments, exc_info=error)
