"""What may be done now, as a pure function of state and time; and what time alone has done by now.

Nothing here changes anything. The theory stands in ``_states``, the arithmetic in ``_schedule``.
"""

from __future__ import annotations

from evertoken import _schedule
from evertoken._actions import SendReason, SendRequest, Wait, WaitReason
from evertoken._policy import Policy
from evertoken._problems import Problem, ProblemKind
from evertoken._records import LONG_AGO, MOST_DOUBLINGS, AccessToken, Attempt, Rejections
from evertoken._states import Freshness, RequestState, State

__all__ = ("LOST", "Published", "back_off_from", "decide", "due_at", "freshness", "publish", "request_state", "settle")

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


def decide(config: Policy, state: State, now: float, min_ttl: float = 0.0) -> SendRequest | Wait:
    """What whoever wants a token with ``min_ttl`` seconds of life left in it may do at ``now``."""
    now = max(now, state.now)
    state = _with_loss(config, state, now)
    if state.attempt is not None:
        return Wait(state.attempt.deadline, _RESPONSE)
    until, reason = now, None
    for moment, name in (
        (state.unblock_at, _UNBLOCK),
        (state.budget_at, _BUDGET),
        (state.backoff.retry_at, _RETRY),
        (due_at(state.token, min_ttl), _REFRESH),
    ):
        if moment > until:
            until, reason = moment, name
    return _SEND[_why_send(state, now)] if reason is None else Wait(until, reason)


def due_at(token: AccessToken | None, min_ttl: float = 0.0) -> float:
    """When the next token is wanted. A ``min_ttl`` that no token of this endpoint could satisfy counts as 0."""
    if token is None:
        return LONG_AGO
    if not 0.0 < min_ttl <= token.longest_min_ttl:
        return token.refresh_at
    return min(token.refresh_at, token.fresh_until - min_ttl)


def _why_send(state: State, now: float) -> SendReason:
    if state.token is None:
        return SendReason.NO_TOKEN if state.granted_at == LONG_AGO else SendReason.REJECTED
    return SendReason.EXPIRED if now >= state.token.fresh_until else SendReason.REFRESH_DUE


def publish(config: Policy, state: State) -> Published:
    """``(quiet_until, header)``: while ``now < quiet_until``, ``header`` is good and nothing needs doing."""
    token = state.token
    if token is None:
        return (LONG_AGO, None)
    return (min(token.fresh_until, _next_send(config, state)), token.authorization)


def _next_send(config: Policy, state: State) -> float:
    """The first moment from which ``decide`` says SendRequest, if nothing but time happens until then."""
    deadline = LONG_AGO
    if state.attempt is not None:
        deadline = state.attempt.deadline
        state = _with_loss(config, state, deadline)
    return max(deadline, due_at(state.token), state.backoff.retry_at, state.budget_at, state.unblock_at)


def freshness(state: State, now: float) -> Freshness:
    """How good the token in hand is at ``now``."""
    now, token = max(now, state.now), state.token
    if token is None:
        return _NONE
    if now < token.refresh_at:
        return _VALID
    return _DUE if now < token.fresh_until else _EXPIRED


def request_state(config: Policy, state: State, now: float) -> RequestState:
    """Whether the endpoint may be asked at ``now``, is being asked, or must be left alone."""
    now = max(now, state.now)
    state = _with_loss(config, state, now)
    if state.attempt is not None:
        return _IN_FLIGHT
    if now < state.unblock_at:
        return _BLOCKED
    return _BACKING_OFF if now < max(state.backoff.retry_at, state.budget_at) else _IDLE


# What time alone has done by now
# -------------------------------


def settle(config: Policy, state: State, now: float) -> State:
    """``state`` as it stands at ``now``: the loss counted, what is over forgotten. No answer of ``decide`` changes.

    Every state that ``step`` returns is settled at its own moment already.
    """
    if now <= state.now:
        return state
    state = _with_loss(config, state, now)
    blocks = tuple(block for block in state.blocks if now < block.until)
    return state._replace(now=now, blocks=blocks, rejections=_settled_rejections(state, now))


def _with_loss(config: Policy, state: State, now: float) -> State:
    attempt = state.attempt
    if attempt is None or now < attempt.deadline:
        return state
    if attempt.claimed:  # A claim that never became an exchange is void, and nothing has gone wrong.
        return state._replace(attempt=None)
    state = state._replace(attempt=None, lost=attempt)
    return back_off_from(config, state, attempt, attempt.deadline, LOST)


def back_off_from(
    config: Policy, state: State, attempt: Attempt, moment: float, problem: Problem, *, malformed: bool = False
) -> State:
    """``state`` after ``attempt`` came to nothing: one more failure, and a back-off that counts from ``moment``."""
    backoff = state.backoff
    failures = min(backoff.failures + 1, MOST_DOUBLINGS)
    in_a_row = min(backoff.malformed + 1, MOST_DOUBLINGS) if malformed else 0
    wait = _schedule.back_off(config, failures, attempt.draw, in_a_row)
    backoff = backoff._replace(
        failures=failures,
        malformed=in_a_row,
        abandoned=0,
        retry_at=max(backoff.retry_at, moment + wait),
        since=max(backoff.since, attempt.started),
    )
    return state._replace(backoff=backoff, problem=problem)


def _settled_rejections(state: State, now: float) -> Rejections:
    rejections, token = state.rejections, state.token
    if rejections.dropped:
        remembered = tuple(entry for entry in rejections.dropped if now < entry.forget_at)
        rejections = rejections._replace(dropped=remembered)
    if rejections.honoured and token is not None and now >= token.refresh_at and not rejections.touched:
        return rejections._replace(honoured=0)
    return rejections
