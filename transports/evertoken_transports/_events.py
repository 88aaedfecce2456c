"""What happened, for metrics and logs: a closed set of typed values. None holds a secret or a token."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar, assert_never

from evertoken import (
    BlockKind,
    Failed,
    Granted,
    Ignored,
    Malformed,
    Outcome,
    Postponed,
    Problem,
    ProblemKind,
    Rejection,
    SendReason,
    State,
    happenings,
)
from evertoken._look import why_send
from evertoken.happenings import Happening

if TYPE_CHECKING:
    from evertoken_transports._coordinator import Coordinator as _Coordinator

_T = TypeVar("_T")

logger = logging.getLogger("evertoken")
logger.addHandler(logging.NullHandler())  # So that Python prints nothing where nobody has set up logging.


@dataclass(frozen=True, slots=True)
class RequestStarted:
    """A token request is about to be sent, for ``reason``. It ends with the :class:`RequestEnded` of ``attempt``."""

    client_id: str
    attempt: int
    reason: SendReason

    def __str__(self) -> str:
        return f"{self.client_id}: token request {self.attempt} started ({self.reason.value})"


@dataclass(frozen=True, slots=True)
class StoreLooked:
    """A shared store is about to be looked into, for ``reason``.

    Only if nothing is found there, a :class:`RequestStarted` follows. Either way it ends with a :class:`RequestEnded`.
    """

    client_id: str
    attempt: int
    reason: SendReason

    def __str__(self) -> str:
        return f"{self.client_id}: look {self.attempt} into the shared store ({self.reason.value})"


@dataclass(frozen=True, slots=True)
class RequestEnded:
    """A token request, or a look into a store, is over. This event comes after those that say what follows from it.

    ``outcome`` is a word: ``granted``, ``failed``, ``malformed``, ``blocked``; ``postponed`` if a store or the source
    of the secret says that nobody asks now; ``abandoned`` if whoever carried it was cancelled, which costs nothing but
    budget; ``stale`` if the credentials that it was refused for had been replaced by then. ``problem`` says why; it is
    None for ``granted``, ``abandoned`` and ``stale``. ``asked`` is False if the token endpoint was not asked, because
    the outcome was in a shared store, another process is asking, or the client's secret could not be had.
    """

    client_id: str
    attempt: int
    outcome: str
    problem: Problem | None = None
    asked: bool = True

    def __str__(self) -> str:
        return f"{self.client_id}: token request {self.attempt} ended ({self.outcome})"


@dataclass(frozen=True, slots=True)
class TokenGranted:
    """A token arrived. The next one is due in ``refresh_in`` seconds, and this one is handed out for ``fresh_for``.

    ``asked`` is False if the token was found in a shared store: then no token request was made for it here.
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
    """A token request came to nothing, as ``problem`` says; no other starts for ``retry_in`` seconds."""

    client_id: str
    retry_in: float
    problem: Problem

    def __str__(self) -> str:
        return f"{self.client_id}: token request failed, next try in {self.retry_in:.1f} s. {self.problem}"


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
    """An API rejected a token, and the one in hand stays: the API was not believed, or meant an older token."""

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

    The origin of ``api_base``, the grant's base URL for API calls, is one to which they may be sent.
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


@dataclass(frozen=True, slots=True)
class CallWaited:
    """A caller had to wait for a token, and has it after ``seconds``. The thread or task that waited tells of it."""

    client_id: str
    seconds: float

    def __str__(self) -> str:
        return f"{self.client_id}: a call waited {self.seconds:.3f} s for its token"


@dataclass(frozen=True, slots=True)
class CallFailed:
    """A caller got an error with ``problem`` and no token after ``seconds``. The thread or task that asked tells it."""

    client_id: str
    seconds: float
    problem: Problem

    def __str__(self) -> str:
        return f"{self.client_id}: a call got no token after {self.seconds:.3f} s. {self.problem}"


Event = (
    RequestStarted
    | StoreLooked
    | TokenGranted
    | RequestFailed
    | RequestEnded
    | EndpointBlocked
    | EndpointUnblocked
    | TokenDropped
    | TokenKept
    | CredentialsReplaced
    | RequestNotSigned
    | StoreReported
    | CallWaited
    | CallFailed
)

EventCallback = Callable[[Event], object]
"""An ``on_event``: what is called with each event. It must be quick, and what it raises is logged."""

_LEVELS: dict[type, int] = {
    EndpointBlocked: logging.WARNING,
    EndpointUnblocked: logging.INFO,
    RequestFailed: logging.INFO,
    StoreReported: logging.WARNING,
    TokenDropped: logging.INFO,
    CredentialsReplaced: logging.INFO,
}


def events_of(client_id: str, state: State, told: tuple[Happening, ...]) -> list[Event]:
    """The events that tell of the happenings ``told``, which led to ``state``."""
    return [event for happening in told for event in _events_of_one(client_id, state, happening)]


def _events_of_one(client_id: str, state: State, happening: Happening) -> Iterator[Event]:
    match happening:
        case happenings.RequestStarted(number):
            is_shared = state.attempt is not None and state.attempt.tiers
            yield (StoreLooked if is_shared else RequestStarted)(client_id, number, why_send(state))
        case happenings.RequestEnded(number, outcome, asked):
            yield from _events_of_outcome(client_id, state, outcome, asked=asked)
            if not isinstance(outcome, Ignored):  # The end of such an attempt was told of before.
                name, problem = type(outcome).__name__.lower(), getattr(outcome, "problem", None)
                unsent = isinstance(outcome, Postponed) or (isinstance(outcome, Failed) and outcome.unsent)
                yield RequestEnded(client_id, number, name, problem, asked and not unsent)
        case happenings.EndpointBlocked(kind, until, problem):
            yield EndpointBlocked(client_id, kind, until - state.now, problem)
        case happenings.EndpointUnblocked(kind):
            yield EndpointUnblocked(client_id, kind)
        case happenings.RejectionJudged(Rejection.DROPPED):
            yield TokenDropped(client_id)
        case happenings.RejectionJudged(verdict):
            yield TokenKept(client_id, verdict)
        case happenings.CredentialsReplaced():
            yield CredentialsReplaced(client_id)
        case _:
            assert_never(happening)


def _events_of_outcome(client_id: str, state: State, outcome: Outcome, *, asked: bool) -> Iterator[Event]:
    """The event that says what follows from ``outcome`` for the token or the next try. A block is told by its own."""
    token = state.token
    match outcome:
        case Granted() if token is not None:
            due = max(0.0, token.refresh_at - state.now)
            yield TokenGranted(client_id, due, token.fresh_until - state.now, asked=asked)
        case Failed() | Malformed():
            yield RequestFailed(client_id, max(0.0, state.backoff.retry_at - state.now), outcome.problem)
        case _:
            pass


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


def bound(callback: EventCallback, coordinator: _Coordinator) -> EventCallback:
    """What is called with the events of ``coordinator``: ``callback``, or what its method ``watch`` returns.

    Most events name a client, and one client may have several coordinators. A callback that tells those apart, or looks
    at them between events, has a method ``watch(coordinator)``. For the same coordinator it returns equal callbacks.
    """
    watch: Callable[[_Coordinator], EventCallback] | None = getattr(callback, "watch", None)
    return callback if watch is None else watch(coordinator)


def log(event: Event, level: int | None = None) -> None:
    """Write ``event`` to the logger ``evertoken``.

    The level is ERROR for a bug in somebody's code. Else it is ``level``, or that of the event's class: WARNING for a
    block and for trouble with a store; INFO for a failure, a rejection that is believed, the end of a block and new
    credentials; DEBUG for the rest.
    """
    if isinstance(event, RequestFailed) and event.problem.kind is ProblemKind.BUG:
        level = logging.ERROR
    write(_LEVELS.get(type(event), logging.DEBUG) if level is None else level, "%s", event)


def tell(callback: EventCallback, event: Event) -> None:
    """Call ``callback`` with ``event``. What it raises is logged, and the caller goes on."""
    call("on_event", callback, event)


def call(name: str, callback: Callable[[_T], object], argument: _T) -> None:
    """Call ``callback``, which people know by ``name``. What it raises is logged, and the caller goes on."""
    try:
        answer = callback(argument)
    except Exception as error:  # noqa: BLE001 (the embedder's callback may raise anything)
        error.__context__ = None  # The error that was being handled may quote a secret.
        write(logging.ERROR, "%s raised while it was told of %s", name, type(argument).__name__, error=error)
        return
    if inspect.iscoroutine(answer):
        answer.close()
        write(logging.ERROR, "%s must be a plain function: the coroutine that it returned was not run", name)


def write(level: int, text: str, *arguments: object, error: Exception | None = None) -> None:
    """Write to the logger ``evertoken``. What an application's log filter raises must not cost a caller its token."""
    with suppress(Exception):
        logger.log(level, text, *arguments, exc_info=error)
