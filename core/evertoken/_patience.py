"""What one caller should do now: use the token, carry a request, wait, or give up. The same for every runtime.

The order of the checks matters. A usable token settles everything. A block that only time and people end fails the
caller at once, however patient, also while an attempt looks whether the block still stands. A wait that ends after the
caller's deadline fails at once too, since it cannot help. Any other attempt in flight fails nobody before the caller's
deadline, since it may succeed.
"""

from __future__ import annotations

from dataclasses import dataclass

from evertoken._grammar import SendRequest, Wait, WaitReason
from evertoken._look import problem_of, request_state
from evertoken._machine import TokenMachine
from evertoken._policy import whole_ticks
from evertoken._problems import Problem, ProblemKind, TokenUnavailable, unavailable
from evertoken._secrecy import Unpicklable
from evertoken._states import AccessToken, Block, RequestState, State

_NOTHING_YET = Problem(
    ProblemKind.CALLER_TIMEOUT,
    "No token arrived within the time that the caller gave",
    "Give the call more time than Policy.request_timeout, or ask for the token ahead of need (warm_up).",
)
_TOO_SHORT = Problem(
    ProblemKind.LIFETIME_TOO_SHORT,
    "The caller needs a token with more remaining life than this endpoint's tokens have to give",
    "Ask for a smaller min_ttl: up to half of a token's usable life can be promised.",
)


@dataclass(frozen=True, slots=True)
class Ready(Unpicklable):
    """There is a token: send the call with its Authorization value."""

    token: AccessToken

    @property
    def authorization(self) -> str:
        """The complete header value, ``Bearer ...``."""
        return self.token.authorization


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Nothing that this caller can wait for will help. ``error`` is a new instance, for this caller alone."""

    error: TokenUnavailable


def next_move(
    machine: TokenMachine, now: float, *, since: float, deadline: float, min_ttl: float = 0.0
) -> Ready | GiveUp | SendRequest | Wait:
    """What a caller should do who came at ``since``, needs ``min_ttl`` seconds of life and can wait until ``deadline``.

    ``now``, ``since`` and ``deadline`` are points in time on the machine's clock. Ask again after every input, and when
    ``Wait.until`` or ``deadline`` has passed. Asking changes nothing, and raises what the machine's queries raise.
    """
    token = machine.token(now, min_ttl)
    if token is not None:
        return Ready(token)
    if min_ttl and _is_too_short(machine.token(now), since, min_ttl):
        return GiveUp(unavailable(_TOO_SHORT))
    action = machine.poll(now, min_ttl)
    if isinstance(action, SendRequest):
        return action if now < deadline else _give_up(machine.settled(now), now, now)
    return _weighed(machine.settled(now), now, action, deadline)


def _is_too_short(token: AccessToken | None, since: float, min_ttl: float) -> bool:
    """Whether no token of this endpoint can have ``min_ttl`` seconds left, as the present ``token`` shows.

    It shows that if ``min_ttl`` is more than may be asked of such a token, or if it was itself asked for after the
    caller came.
    """
    if token is None:
        return False
    return min_ttl > token.longest_min_ttl or token.started >= whole_ticks(since)


def _weighed(state: State, now: float, wait: Wait, deadline: float) -> GiveUp | Wait:
    blocks = _blocks(state)
    if wait.reason is WaitReason.RESPONSE:
        if not blocks:
            return Wait(min(wait.until, deadline), wait.reason) if now < deadline else _give_up(state, now, now)
        until = max(block.until for block in blocks)  # The attempt only looks whether the block still stands.
    else:
        until = max([wait.until, *(block.until for block in blocks)])
    if any(block.kind.is_grave for block in blocks) or until > deadline or now >= deadline:
        return _give_up(state, now, until)
    return Wait(min(wait.until, deadline), wait.reason)


def _blocks(state: State) -> tuple[Block, ...]:
    """The blocks that stand; none while an attempt that is older than they are may still bring a token."""
    return state.standing if request_state(state) is RequestState.BLOCKED else ()


def _give_up(state: State, now: float, until: float) -> GiveUp:
    """The error for a caller who can wait for nothing that helps; ``until`` is when to come back.

    The class of the error says what holds now. A refusal whose block is over is only the latest problem, and gets no
    class of its own.
    """
    problem, blocks = problem_of(state) or _NOTHING_YET, _blocks(state)
    if blocks:
        return GiveUp(unavailable(problem, max([until, *(block.until for block in blocks)]) - now))
    return GiveUp(TokenUnavailable(problem, max(0.0, until - now)))
