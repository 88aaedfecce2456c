"""The laws of one state: what poll and the readers are told, compared with the moments that the state holds."""

from __future__ import annotations

from evertoken._grammar import SendReason, SendRequest, Wait, WaitReason
from evertoken._look import decide, publish, request_state
from evertoken._policy import TICK, Policy
from evertoken._problems import Problem, ProblemKind
from evertoken._states import LONG_AGO, RequestState, State
from evertoken._step import settle
from evertoken.testing.laws._expected import look_at, loss_retry_at, unblock_at

# Bound once: before Python 3.12, reading an enum member through its class is slow, and this runs after every step.
_RESPONSE, _REFRESH, _RETRY, _BUDGET, _UNBLOCK = WaitReason
_BLOCKED = RequestState.BLOCKED
_IS_BLOCKED = "the request is blocked until the last block ends, also while a store is looked at"


def broken_in(policy: Policy, state: State, now: float) -> list[str]:
    """The laws that ``state`` breaks when it is looked at at ``now``, which is not before ``state.now``."""
    found: list[str] = []
    state = settle(policy, state, now)
    action = decide(state)
    moment = _next_start(policy, state)
    if isinstance(action, Wait):
        _check_wait(state, now, action, found)
        if not isinstance(decide(settle(policy, state, moment)), SendRequest):
            found.append("poll says SendRequest as soon as all waits are over, and a lost attempt is not waited for")
    else:
        _check_permission(state, now, action, found)
    _check_published(policy, state, now, moment, found)
    token = state.token
    if token is not None and moment == token.refresh_at > now:
        # Only the refresh is waited for, so it would be seen if a demand that no token can satisfy counted.
        too_much = (token.fresh_until - token.started) / 2 + TICK
        if decide(state, too_much) != action:
            found.append("a min_ttl above half of a token's usable life counts as none")
    if token is not None and not token.started <= token.refresh_at <= token.fresh_until <= token.expires_at:
        found.append("a token's moments stand in order: started, refresh_at, fresh_until, expires_at")
    if not 0 <= state.budget.level <= policy.budget_burst:
        found.append(f"the budget holds from 0 to budget_burst requests: not {state.budget.level}")
    if state.blocks:
        _check_blocks(state, now, found)
    elif request_state(state) is _BLOCKED:
        found.append(_IS_BLOCKED)
    return found


def _check_blocks(state: State, now: float, found: list[str]) -> None:
    blocked = state.attempt is None or any(block.look_at <= state.attempt.started for block in state.standing)
    if (request_state(state) is _BLOCKED) != (blocked and now < unblock_at(state.blocks)):
        found.append(_IS_BLOCKED)
    if [block for block in state.blocks if block.look_at > block.until]:
        found.append("a store is looked at before a block ends, if at all")


def _check_wait(state: State, now: float, action: Wait, found: list[str]) -> None:
    until, attempt = action.until, state.attempt
    if not until > now:
        found.append(f"Wait.until lies ahead: {action} at {now}")
    if attempt is not None:
        expected, reason = attempt.deadline, _RESPONSE
    else:
        expected, reason = look_at(state.blocks), _UNBLOCK
        if state.budget.level < 1 and state.budget.refill_at > expected:
            expected, reason = state.budget.refill_at, _BUDGET
        if state.backoff.retry_at > expected:
            expected, reason = state.backoff.retry_at, _RETRY
        if state.token is not None and state.token.refresh_at > expected:
            expected, reason = state.token.refresh_at, _REFRESH
    if until != expected or action.reason is not reason:
        found.append(f"poll waits for the answer, or for the last of the moments that lie ahead: {action}")


def _check_permission(state: State, now: float, action: SendRequest, found: list[str]) -> None:
    check_start(state, now, 0.0, "poll says SendRequest", found)
    token = state.token
    if token is None:
        reason = SendReason.NO_TOKEN if state.granted_at == LONG_AGO else SendReason.REJECTED
    else:
        reason = SendReason.REFRESH_DUE if now < token.fresh_until else SendReason.EXPIRED
    if action.reason is not reason:
        found.append("poll says why a request may start")


def check_start(state: State, now: float, min_ttl: float, what: str, found: list[str]) -> None:
    """Add a law for each thing that forbids a request to start at ``now``; ``what`` says how it came to be allowed."""
    token = state.token
    if state.attempt is not None:
        found.append(f"at most one attempt before its deadline: {what}")
    if now < look_at(state.blocks):
        found.append(f"no request is started while a block stands: {what}")
    if now < state.backoff.retry_at:
        found.append(f"no request is started while backing off: {what}")
    if state.budget.level < 1 and now < state.budget.refill_at:
        found.append(f"no request is started without budget: {what}")
    if token is not None and now < token.refresh_at:
        wanted = 0.0 < min_ttl <= (token.fresh_until - token.started) / 2 and now >= token.fresh_until - min_ttl
        if not wanted:
            found.append(f"no request is started while the token is VALID: {what}, min_ttl {min_ttl}")


def check_problem(state: State, expected: Problem | ProblemKind | None, found: list[str]) -> None:
    """Check that the problem that the state tells is the ``expected`` one, or of the expected kind."""
    told = state.problem
    right = told is not None and told.kind is expected if isinstance(expected, ProblemKind) else told == expected
    if not right:
        found.append("the problem that is told is that of the latest trouble, and none once it is over")


def _next_start(policy: Policy, state: State) -> float:
    """The first moment from which poll says SendRequest, if nothing but time happens until then."""
    moment, token, attempt = look_at(state.blocks), state.token, state.attempt
    if attempt is None:
        moment = max(moment, state.backoff.retry_at)
    else:
        moment = max(moment, attempt.deadline, loss_retry_at(policy, state, attempt))
    if token is not None:
        moment = max(moment, token.refresh_at)
    return moment if state.budget.level > 0 else max(moment, state.budget.refill_at)


def _check_published(policy: Policy, state: State, now: float, moment: float, found: list[str]) -> None:
    """Check that readers see one whole token, and the exact moment until which nothing else is to be done."""
    quiet_until, header = publish(policy, state)
    token = state.token
    if header != (None if token is None else token.authorization):
        found.append("readers see the header of the token in hand")
    if token is None:
        return
    if quiet_until > token.fresh_until:
        found.append("no header is handed out from fresh_until on")
    elif quiet_until != min(moment, token.fresh_until) and max(quiet_until, moment) > now:
        found.append("quiet_until is the next moment at which poll says SendRequest, or fresh_until")
