"""What happened, for metrics and logs: a closed set of typed values. None holds a secret or a token."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from evertoken import BlockKind, Problem, Rejection, State

__all__ = (
    "CredentialsReplaced",
    "DoorClosed",
    "DoorOpened",
    "Event",
    "EventCallback",
    "RequestAbandoned",
    "RequestFailed",
    "RequestNotSigned",
    "RequestStarted",
    "TokenDropped",
    "TokenGranted",
    "TokenKept",
)

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
class TokenGranted:
    """A token arrived. Seconds from now: until the next one is due, and until this one is no longer handed out."""

    client_id: str
    refresh_in: float
    fresh_for: float

    def __str__(self) -> str:
        return f"{self.client_id}: token granted, good for {self.fresh_for:.1f} s, next due in {self.refresh_in:.1f} s"


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
    """Whoever carried a token request was cancelled. The first in a row costs nothing."""

    client_id: str

    def __str__(self) -> str:
        return f"{self.client_id}: token request abandoned by its carrier"


@dataclass(frozen=True, slots=True)
class DoorClosed:
    """The token endpoint is not to be asked for ``seconds``: it locked, refused, limited, or answered unclearly."""

    client_id: str
    kind: BlockKind
    seconds: float
    problem: Problem

    def __str__(self) -> str:
        return f"{self.client_id}: {self.kind.value}; no token request for {self.seconds:.1f} s. {self.problem}"


@dataclass(frozen=True, slots=True)
class DoorOpened:
    """A closed door is open again: by a grant, new credentials, the operator's word, or seen to be over."""

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
    """An API request went out without a token, because ``origin`` is not one that tokens may be sent to."""

    origin: str

    def __str__(self) -> str:
        return f"a request to {self.origin} was not signed: tokens go to the API's own origin and to origins= only"


Event = (
    RequestStarted
    | TokenGranted
    | RequestFailed
    | RequestAbandoned
    | DoorClosed
    | DoorOpened
    | TokenDropped
    | TokenKept
    | CredentialsReplaced
    | RequestNotSigned
)

EventCallback = Callable[[Event], object]

_LEVELS: dict[type, int] = {
    DoorClosed: logging.WARNING,
    DoorOpened: logging.INFO,
    RequestFailed: logging.INFO,
    TokenDropped: logging.INFO,
    CredentialsReplaced: logging.INFO,
}


def news(client_id: str, before: State, after: State) -> list[Event]:
    """What an observer of the machine saw happen between two states."""
    return [
        *_news_of_blocks(client_id, before, after),
        *_news_of_requests(client_id, before, after),
        *_news_of_tokens(client_id, before, after),
    ]


def _news_of_blocks(client_id: str, before: State, after: State) -> list[Event]:
    stood = {block.kind for block in before.blocks if after.now < block.until}
    stands = {block.kind for block in after.blocks}
    opened = [DoorOpened(client_id, block.kind) for block in before.blocks if block.kind not in stands]
    closed = [
        DoorClosed(client_id, block.kind, block.until - after.now, block.problem)
        for block in after.blocks
        if block.kind not in stood
    ]
    return [*opened, *closed]


def _news_of_requests(client_id: str, before: State, after: State) -> list[Event]:
    found: list[Event] = []
    if after.backoff.retry_at > before.backoff.retry_at:
        found.append(RequestFailed(client_id, max(0.0, after.backoff.retry_at - after.now), after.problem))
    elif after.backoff.abandoned > before.backoff.abandoned:
        found.append(RequestAbandoned(client_id))
    if after.attempt is not None and after.next_id > before.next_id:
        found.append(RequestStarted(client_id, after.attempt.id))
    return found


def _news_of_tokens(client_id: str, before: State, after: State) -> list[Event]:
    token = after.token
    if token is before.token:
        return []
    if token is None:
        return [TokenDropped(client_id)]
    return [TokenGranted(client_id, max(0.0, token.refresh_at - after.now), token.fresh_until - after.now)]


def log(event: Event) -> None:
    """Write ``event`` to the logger ``evertoken``: WARNING when a door closes, INFO for trouble, DEBUG for the rest."""
    write(_LEVELS.get(type(event), logging.DEBUG), "%s", event)


def tell(callback: EventCallback, event: Event) -> None:
    """Call ``callback``; whatever it does, the caller goes on."""
    try:
        answer = callback(event)
    except Exception as error:  # noqa: BLE001 (the embedder's callback may raise anything)
        error.__context__ = None  # What was being handled meanwhile may quote a secret.
        write(logging.ERROR, "on_event raised while it was told of %s", type(event).__name__, error=error)
        return
    if inspect.iscoroutine(answer):
        answer.close()
        write(logging.ERROR, "on_event must be a plain function: the coroutine that it returned was not run")


def write(level: int, text: str, *arguments: object, error: Exception | None = None) -> None:
    """Write to the logger ``evertoken``. What an application's filter raises must not cost a caller its token."""
    with suppress(Exception):
        logger.log(level, text, *arguments, exc_info=error)
