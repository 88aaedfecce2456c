"""The machine as the simulated clients hold it: what it is told, and what it answers, is held against what comes of it.

``step`` and its laws see inputs only. Between a method and its input there is a part of the machine that they cannot
judge: whether the input says what the caller said, and whether the answer says what became of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol, TypeVar, cast

from typing_extensions import override

from evertoken._challenge import Challenge
from evertoken._checks import min_ttl_on_the_grid, on_the_grid
from evertoken._grammar import (
    AnswerReceived,
    BlockLifted,
    BlockReported,
    CredentialsReplaced,
    Input,
    Rejection,
    RequestClaimed,
    SendRequest,
    TokenRejected,
    TokenWorked,
    Wait,
)
from evertoken._grant import ClientCredentials, Signing
from evertoken._http import HttpResponse, Seen, TokenRequest
from evertoken._machine import TokenMachine
from evertoken._patience import GiveUp, Ready
from evertoken._policy import Policy
from evertoken._problems import Problem, ProblemKind
from evertoken._states import AccessToken, BlockKind, State
from evertoken.happenings import Happening
from evertoken.outcomes import Abandoned, Failed, Granted, Outcome, Postponed
from evertoken.testing.laws._state_laws import check_start

_Gist = tuple[object, ...]
_Answer = TypeVar("_Answer")


_UNSENT = ("postponed", "abandoned")
"""What may become of a request that asks for the client's secret first, if there is nothing to be sent."""


class Onlooker(Protocol):
    """Who is told about a machine."""

    def note(self, before: State, happened: Input, after: State, told: tuple[Happening, ...]) -> None:
        """The machine has made a step."""
        ...

    def fail(self, law: str) -> None:
        """The machine has broken ``law``. This is expected to raise."""
        ...


class WatchedMachine(TokenMachine):
    """The real machine; every step of it is told to somebody, before it takes effect."""

    __slots__ = ("_asked", "_may", "_onlooker")

    def __init__(self, grant: ClientCredentials, policy: Policy, draw: Callable[[], float], onlooker: Onlooker) -> None:
        self._asked: _Gist | None = None
        self._may: tuple[_Gist, ...] = ()
        self._onlooker = onlooker
        super().__init__(grant, policy=policy, draw=draw)

    @override
    def stepped(self, happened: Input, after: State, happenings: tuple[Happening, ...]) -> None:
        asked, self._asked = self._asked, None
        gist = _gist(happened)
        if gist != asked and gist not in self._may:
            self._onlooker.fail("an input says what the machine was told, and there is none but that")
        self._onlooker.note(self._state, happened, after, happenings)
        super().stepped(happened, after, happenings)

    def become(self, state: State) -> State:
        """Go on in ``state``, which a snapshot held."""
        self._become(state)
        return state

    def hold(self, move: Ready | GiveUp | SendRequest | Wait, now: float, want: Want) -> None:
        """Hold ``move``, which a caller with this ``want`` is told to make at ``now``, to the laws."""
        law = broken_by_move(self.settled(now), now, want, move)
        if law is not None:
            self._onlooker.fail(law)

    def _tell(self, asked: _Gist, tell: Callable[[], _Answer]) -> _Answer:
        """Call ``tell``, of which an input with the gist ``asked`` must come."""
        kind, now, *arguments = asked
        self._asked = (kind, on_the_grid(cast("float", now)), *arguments)
        answer = tell()
        if self._asked is not None:
            self._onlooker.fail("what the machine is told takes effect")
        return answer

    # What it can be told
    # -------------------

    @override
    def start_request(self, now: float, min_ttl: float = 0.0, *, signing: Signing | None = None) -> TokenRequest:
        start = super().start_request
        asked = (RequestClaimed, now, min_ttl_on_the_grid(min_ttl))
        return self._tell(asked, lambda: start(now, min_ttl, signing=signing))

    @override
    def secret_told(
        self, now: float, request: TokenRequest, secret: str, *, signing: Signing | None = None
    ) -> TokenRequest | None:
        told, number = on_the_grid(now), request.id
        # What comes of it is up to the machine: another secret, nothing to be sent, or neither.
        self._may = ((CredentialsReplaced, told), *((AnswerReceived, told, number, how) for how in _UNSENT))
        try:
            return super().secret_told(now, request, secret, signing=signing)
        finally:
            self._may = ()

    @override
    def secret_failed(self, now: float, request: TokenRequest, reason: str | Outcome) -> Outcome:
        fail = super().secret_failed
        return self._report(now, request, "failed", lambda: fail(now, request, reason))

    @override
    def receive_response(
        self, now: float, request: TokenRequest, response: HttpResponse | Outcome, seen: Seen | None = None
    ) -> Outcome:
        receive = super().receive_response
        return self._report(now, request, "answered", lambda: receive(now, request, response, seen))

    @override
    def send_failed(self, now: float, request: TokenRequest, reason: str | Outcome) -> Outcome:
        fail = super().send_failed
        return self._report(now, request, "failed", lambda: fail(now, request, reason))

    @override
    def request_abandoned(self, now: float, request: TokenRequest) -> Outcome:
        abandon = super().request_abandoned
        return self._report(now, request, "abandoned", lambda: abandon(now, request))

    @override
    def request_postponed(
        self, now: float, request: TokenRequest, until: float, problem: Problem | None = None
    ) -> Outcome:
        postpone = super().request_postponed
        return self._report(now, request, "postponed", lambda: postpone(now, request, until, problem))

    def _report(self, now: float, request: TokenRequest, how: str, report: Callable[[], Outcome]) -> Outcome:
        before = self._state.token
        outcome = self._tell((AnswerReceived, now, request.id, how), report)
        due_later = isinstance(outcome, Postponed)
        if isinstance(outcome, Granted) != (self._state.token != before and not due_later):
            self._onlooker.fail("an outcome says whether a token was taken")
        return outcome

    @override
    def token_rejected(self, now: float, authorization: str, challenge: Challenge) -> Rejection:
        before, reject = self._state.token, super().token_rejected
        asked = (TokenRejected, now, authorization, challenge)
        verdict = self._tell(asked, lambda: reject(now, authorization, challenge))
        if (verdict is Rejection.DROPPED) != (self._state.token != before):
            self._onlooker.fail("a verdict says whether the token was dropped")
        return verdict

    @override
    def token_worked(self, now: float, authorization: str) -> None:
        note = super().token_worked
        self._tell((TokenWorked, now, authorization), lambda: note(now, authorization))

    @override
    def endpoint_blocked(self, now: float, kind: BlockKind, seconds: float | None = None) -> None:
        close = super().endpoint_blocked
        self._tell((BlockReported, now, kind, seconds), lambda: close(now, kind, seconds))

    @override
    def replace_credentials(self, now: float, credentials: ClientCredentials) -> None:
        replace = super().replace_credentials
        if self._grant.same_proof(credentials):
            replace(now, credentials)
        else:
            self._tell((CredentialsReplaced, now), lambda: replace(now, credentials))

    @override
    def lift_block(self, now: float) -> None:
        lift = super().lift_block
        self._tell((BlockLifted, now), lambda: lift(now))


def _gist(happened: Input) -> _Gist:
    """What of an input is decided by whoever tells it to the machine: which one it is, when, and the arguments."""
    kind, now = type(happened), happened.now
    match happened:
        case RequestClaimed():
            return (kind, now, happened.min_ttl)
        case AnswerReceived():
            return (kind, now, happened.id, _how_it_went(happened.answer))
        case TokenRejected():
            return (kind, now, happened.authorization, happened.challenge)
        case TokenWorked():
            return (kind, now, happened.authorization)
        case BlockReported():
            return (kind, now, happened.kind, happened.seconds)
        case _:
            return (kind, now)


def _how_it_went(answer: Outcome) -> str:
    """Which of the four reports an outcome comes from."""
    if isinstance(answer, Abandoned | Postponed):
        return type(answer).__name__.lower()
    unsent = (ProblemKind.TRANSPORT, ProblemKind.BUG, ProblemKind.SECRET)
    return "failed" if isinstance(answer, Failed) and answer.problem.kind in unsent else "answered"


class Want(NamedTuple):
    """What a caller wants: ``min_ttl`` seconds of life, by ``deadline``; it has been here ``since``."""

    since: float
    deadline: float
    min_ttl: float


def broken_by_move(state: State, now: float, want: Want, move: Ready | GiveUp | SendRequest | Wait) -> str | None:
    """The law that is broken if whoever has this ``want`` is told to make ``move`` in ``state``, settled at ``now``."""
    min_ttl = min_ttl_on_the_grid(want.min_ttl)
    token = state.token
    good = token is not None and state.now < token.fresh_until - min_ttl
    if isinstance(move, Ready):
        right = good and token is not None and move.authorization == token.authorization
        return None if right else "a caller gets the token in hand, with as much life left in it as was asked for"
    if good and isinstance(move, GiveUp):
        return "who can be served is served"
    found: list[str] = []
    check_start(state, state.now, min_ttl, "a caller is told to send one", found)
    if isinstance(move, SendRequest):
        return found[0] if found else None
    hopeless = isinstance(move, GiveUp) and (
        now >= want.deadline or _is_too_much(token, on_the_grid(want.since), min_ttl)
    )
    return None if found or hopeless else "who may send a request is told so"


def _is_too_much(token: AccessToken | None, since: float, min_ttl: float) -> bool:
    """Whether no token will do: ``min_ttl`` is above half a usable life, or one asked for since the call has less."""
    if token is None or not min_ttl:
        return False
    return min_ttl > (token.fresh_until - token.started) / 2 or token.started >= since
