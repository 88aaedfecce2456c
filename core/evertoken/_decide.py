"""What may be done now, as pure functions of a state that is settled; and what time alone has done by now.

``settle`` is the one way in which time comes in. What it returns stands at its own ``now``, and so does every state
that ``step`` returns. Nothing here changes anything. The theory stands in ``_states``, the arithmetic in ``_schedule``.
"""

from __future__ import annotations

from evertoken import _schedule
from evertoken._actions import SendReason, SendRequest, Wait, WaitReason
from evertoken._policy import Policy
from evertoken._problems import Problem, ProblemKind
from evertoken._records import LONG_AGO, MOST_DOUBLINGS, AccessToken, Attempt, BackOff, Rejections
from evertoken._states import Freshness, RequestState, State
from evertoken.happenings import EndpointUnblocked, Happening, RequestEnded
from evertoken.outcomes import Failed

__all__ = (
    "LOST",
    "Published",
    "back_off_from",
    "decide",
    "due_at",
    "forgiven",
    "freshness",
    "pass_time",
    "publish",
    "request_state",
    "settle",
)

Published = tuple[float, str | None]

_SEND = {reason: SendRequest(reason) for reason in SendReason}
_RESPONSE, _REFRESH, _RETRY, _BUDGET, _UNBLOCK = WaitReason
_NONE, _VALID, _DUE, _EXPIRED = Freshness
_IDLE, _IN_FLIGHT, _BACKING_OFF, _BLOCKED = RequestState

LOST = Problem(
    ProblemKind.LOST,
    "No answer to the token request before its deadline",
    "Look at the network between this host and the token endpoint; Policy.request_timeout is how long an attempt has.",
)


def decide(state: State, min_ttl: float = 0.0) -> SendRequest | Wait:
    """What whoever wants a token with ``min_ttl`` seconds of life left in it may do at ``state.now``."""
    if state.attempt is not None:
        return Wait(state.attempt.deadline, _RESPONSE)
    until, reason = state.unblock_at, _UNBLOCK
    if state.budget_at > until:
        until, reason = state.budget_at, _BUDGET
    if state.backoff.retry_at > until:
        until, reason = state.backoff.retry_at, _RETRY
    due = due_at(state.token, min_ttl)
    if due > until:
        until, reason = due, _REFRESH
    return Wait(until, reason) if until > state.now else _SEND[_why_send(state)]


def due_at(token: AccessToken | None, min_ttl: float = 0.0) -> float:
    """When the next token is wanted. A ``min_ttl`` that no token of this endpoint could satisfy counts as 0."""
    if token is None:
        return LONG_AGO
    if not 0.0 < min_ttl <= token.longest_min_ttl:
        return token.refresh_at
    return min(token.refresh_at, token.fresh_until - min_ttl)


def _why_send(state: State) -> SendReason:
    if state.token is None:
        return SendReason.NO_TOKEN if state.granted_at == LONG_AGO else SendReason.REJECTED
    return SendReason.EXPIRED if state.now >= state.token.fresh_until else SendReason.REFRESH_DUE


def publish(policy: Policy, state: State) -> Published:
    """``(quiet_until, header)``: while ``now < quiet_until``, ``header`` is good and nothing needs doing."""
    token = state.token
    if token is None:
        return (LONG_AGO, None)
    return (min(token.fresh_until, _next_send(policy, state)), token.authorization)


def _next_send(policy: Policy, state: State) -> float:
    """The first moment from which ``decide`` says SendRequest, if nothing but time happens until then."""
    attempt, retry_at = state.attempt, state.backoff.retry_at
    moment = max(due_at(state.token), state.budget_at, state.unblock_at)
    if attempt is not None:
        # If nobody answers, its loss is followed by a back-off.
        retry_at = max(retry_at, attempt.deadline + _wait_after(policy, state, attempt))
    return max(moment, retry_at)


def freshness(state: State) -> Freshness:
    """How good the token in hand is at ``state.now``."""
    now, token = state.now, state.token
    if token is None:
        return _NONE
    if now < token.refresh_at:
        return _VALID
    return _DUE if now < token.fresh_until else _EXPIRED


def request_state(state: State) -> RequestState:
    """Whether the endpoint may be asked at ``state.now``, is being asked, or must be left alone."""
    now = state.now
    if state.attempt is not None:
        return _IN_FLIGHT
    if now < state.unblock_at:
        return _BLOCKED
    return _BACKING_OFF if now < max(state.backoff.retry_at, state.budget_at) else _IDLE


# What time alone has done by now
# -------------------------------


def settle(policy: Policy, state: State, now: float) -> State:
    """``state`` as it stands at ``now``, or at its own moment if that is later.

    A loss is counted, and what is over is forgotten.
    """
    return pass_time(policy, state, now)[0]


def pass_time(policy: Policy, state: State, now: float) -> tuple[State, tuple[Happening, ...]]:
    """What :func:`settle` gives, and what has happened by that."""
    if now <= state.now:
        return state, ()
    happenings: tuple[Happening, ...] = ()
    attempt, blocks, rejections = state.attempt, state.blocks, state.rejections
    if attempt is not None and now >= attempt.deadline:
        state = state._replace(attempt=None, lost=attempt)
        state = back_off_from(policy, state, attempt, attempt.deadline, LOST)
        happenings = (RequestEnded(attempt.id, Failed(LOST)),)
    if blocks:
        happenings += tuple([EndpointUnblocked(block.kind) for block in blocks if state.now < block.until <= now])
    if rejections.dropped or rejections.believed:
        state = state._replace(rejections=_settled_rejections(state, now))
    return state.at(now), happenings


def back_off_from(
    policy: Policy, state: State, attempt: Attempt, moment: float, problem: Problem, *, malformed: bool = False
) -> State:
    """``state`` after ``attempt`` came to nothing: one more failure, and a back-off that counts from ``moment``."""
    backoff = state.backoff
    in_a_row = min(backoff.malformed + 1, MOST_DOUBLINGS) if malformed else 0
    backoff = BackOff(
        failures=min(backoff.failures + 1, MOST_DOUBLINGS),
        malformed=in_a_row,
        repeats=backoff.repeats,
        retry_at=max(backoff.retry_at, moment + _wait_after(policy, state, attempt, in_a_row)),
        found=max(backoff.found, attempt.started),
    )
    return state._replace(backoff=backoff, problem=problem)


def _wait_after(policy: Policy, state: State, attempt: Attempt, malformed: int = 0) -> float:
    """The back-off, in seconds, if ``attempt`` comes to nothing."""
    return _schedule.back_off(policy, min(state.backoff.failures + 1, MOST_DOUBLINGS), attempt.draw, malformed)


def _settled_rejections(state: State, now: float) -> Rejections:
    rejections = state.rejections
    if rejections.dropped:
        remembered = tuple([entry for entry in rejections.dropped if now < entry.forget_at])
        if len(remembered) < len(rejections.dropped):
            rejections = rejections._replace(dropped=remembered)
    return forgiven(rejections, now)


def forgiven(rejections: Rejections, now: float) -> Rejections:
    """``rejections``, whose row is over if the token in hand has worked and none was heard of for long enough."""
    if rejections.believed and rejections.worked and now >= rejections.forgive_at:
        return rejections._replace(believed=0, forgive_at=LONG_AGO)
    return rejections
