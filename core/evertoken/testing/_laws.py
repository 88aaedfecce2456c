"""The laws of the machine as pure functions of its states and steps: what may never be true, in any state, by any path.

    broken_in(policy, state, now)              -> the laws that this state breaks
    broken_by(policy, before, happened, after) -> the laws that this step breaks

Both give sentences, and none when all is well. They look only at what ``decide``, ``publish`` and ``step`` say, so they
hold for an embedder's own policy too. The explorer asks them in every state, the simulated world after every step.
"""

from __future__ import annotations

from collections.abc import Iterator

from evertoken._actions import SendRequest, Wait
from evertoken._challenge import Challenge
from evertoken._decide import decide, freshness, publish, request_state, settle
from evertoken._inputs import (
    AnswerReceived,
    BlockLifted,
    CredentialsReplaced,
    DoorClosed,
    ExchangeStarted,
    Input,
    RequestClaimed,
    SharedReceived,
    TokenRejected,
)
from evertoken._judge import digest
from evertoken._policy import TICK, Policy
from evertoken._records import AccessToken, Attempt
from evertoken._schedule import refill
from evertoken._states import Freshness, RequestState, State
from evertoken.outcomes import Abandoned, Failed, Granted, Malformed

__all__ = ("broken_by", "broken_in", "liveness_bound")

_VALID = Freshness.VALID
_IDLE = RequestState.IDLE


def liveness_bound(policy: Policy) -> float:
    """Seconds within which a token must be there once faults have ended and while somebody keeps asking.

    A lost attempt and the longest back-off, or the longest block, or one refill of the budget; and before that the
    claim that was standing when the faults ended, which nobody has to give back before its deadline.
    """
    blocks = (policy.locked_wait_cap, policy.refused_wait_cap, policy.unclear_wait_cap, policy.rate_limited_wait_cap)
    longest = max(
        policy.request_timeout + max(policy.retry_cap, policy.malformed_cap),
        max(*blocks, policy.doubted_refusal_wait) + policy.wait_spread,
        policy.budget_interval,
    )
    return longest + 2 * policy.request_timeout


# One state
# ---------


def broken_in(policy: Policy, state: State, now: float) -> Iterator[str]:
    """The laws that ``state`` breaks when it is looked at at ``now``, which is not before ``state.now``."""
    action = decide(policy, state, now)
    sends = isinstance(action, SendRequest)
    if isinstance(action, Wait) and not action.until > now:
        yield f"Wait.until lies ahead: {action} at {now}"
    if decide(policy, settle(policy, state, now), now) != action:
        yield "what time alone has done changes no answer of poll"
    if sends != (request_state(policy, state, now) is _IDLE and freshness(state, now) is not _VALID):
        yield "poll says SendRequest exactly when the request is IDLE and the token is not VALID"
    yield from _broken_by_published(policy, state, now, sends=sends)
    yield from _broken_by_token(state)
    if not 0 <= state.budget.level <= policy.budget_burst:
        yield f"the budget holds from 0 to budget_burst requests, not {state.budget.level}"


def _broken_by_published(policy: Policy, state: State, now: float, *, sends: bool) -> Iterator[str]:
    quiet_until, header = publish(policy, state)
    token = state.token
    if (token is None) != (header is None) or (token is not None and header != token.authorization):
        yield "readers see the header of the token in hand"
    if token is None or not now < quiet_until:
        return
    if sends:
        yield "poll says no SendRequest before quiet_until"
    if quiet_until > token.fresh_until:
        yield "no header is handed out from fresh_until on"
    if quiet_until != token.fresh_until and not isinstance(decide(policy, state, quiet_until), SendRequest):
        yield "quiet_until is the next moment at which poll says SendRequest, or fresh_until"
    if isinstance(decide(policy, state, max(now, quiet_until - TICK)), SendRequest):
        yield "poll says no SendRequest until quiet_until"


def _broken_by_token(state: State) -> Iterator[str]:
    token = state.token
    if token is None:
        return
    if not token.started <= token.refresh_at <= token.fresh_until <= token.expires_at:
        yield "a token's moments stand in order: started, refresh_at, fresh_until, expires_at"


# One step
# --------


def broken_by(policy: Policy, before: State, happened: Input, after: State) -> Iterator[str]:
    """The laws that the step from ``before`` through ``happened`` to ``after`` breaks."""
    if before.now < happened.now:  # Else it is settled: every state is at its own moment.
        before = settle(policy, before, happened.now)
    if after.now != before.now:
        yield "the machine keeps the largest now of any input"
    yield from _broken_by_slot(policy, before, happened, after)
    yield from _broken_by_budget(policy, before, after)
    yield from _broken_by_change_of_token(policy, before, happened, after)
    yield from _broken_by_open_doors(before, happened, after)
    if isinstance(happened, AnswerReceived):
        yield from _broken_by_answer(policy, before, happened, after)
    elif isinstance(happened, TokenRejected) and before.token is not None and after.token is None:
        yield from _broken_by_belief(policy, before, before.token, happened, after)


def _broken_by_slot(policy: Policy, before: State, happened: Input, after: State) -> Iterator[str]:
    """At most one attempt before its deadline, and none that ``poll`` does not allow."""
    held, holds = before.attempt, after.attempt
    if isinstance(happened, RequestClaimed):
        if not isinstance(decide(policy, before, before.now, happened.min_ttl), SendRequest):
            yield "no request is started unless poll says SendRequest"
        return
    if held is None:
        if holds is not None:
            yield "an attempt begins with a claim"
    elif not _may_end(held, happened) and holds != held:
        yield "an attempt holds its slot until its own outcome or its deadline"


def _may_end(held: Attempt, happened: Input) -> bool:
    match happened:
        case AnswerReceived():
            return happened.id == held.id
        case SharedReceived() | ExchangeStarted():
            return held.claimed and happened.id == held.id
        case DoorClosed():
            return held.claimed
        case _:
            return False


def _broken_by_budget(policy: Policy, before: State, after: State) -> Iterator[str]:
    """Charged by exactly one when an exchange starts, refunded never, refilled by time alone."""
    started = after.attempt is not None and not after.attempt.claimed and _is_new(before.attempt, after.attempt)
    level = refill(policy, before.budget, before.now).level
    left = refill(policy, after.budget, after.now).level
    if left != level - started:
        yield f"the budget is charged one for an exchange that starts, else nothing: {level} became {left}"


def _is_new(held: Attempt | None, holds: Attempt) -> bool:
    return held is None or held.claimed or held.id != holds.id


def _broken_by_change_of_token(policy: Policy, before: State, happened: Input, after: State) -> Iterator[str]:
    held, holds = before.token, after.token
    if held == holds:
        return
    if holds is None:
        if not isinstance(happened, TokenRejected):
            yield "only a rejection takes the token away"
        elif after.attempt is None and not isinstance(decide(policy, after, after.now), SendRequest):
            yield "a token is dropped only if another can be asked for at once or is on its way"
    elif not isinstance(happened, AnswerReceived | SharedReceived):
        yield "only a grant brings a token"
    elif not after.now < holds.fresh_until:
        yield "no token is taken that is past its fresh_until"
    elif held is not None and holds.started < held.started:
        yield "a token never gives way to one whose request started earlier"
    elif _is_shunned(holds.value, after):
        yield "a dropped token is not handed out again before rejection_interval has passed"


def _is_shunned(value: str, state: State) -> bool:
    dropped = state.rejections.dropped
    return any(entry.digest == digest(value) and state.now < entry.vouched_at for entry in dropped)


def _broken_by_open_doors(before: State, happened: Input, after: State) -> Iterator[str]:
    """A door opens before its moment by a grant, by new credentials or by the operator's word; by nothing else."""
    if isinstance(happened, BlockLifted | CredentialsReplaced):
        return
    took = after.token is not None and after.token != before.token
    still = {block.kind: block.until for block in after.blocks}
    closed = [block for block in before.blocks if after.now < block.until]
    if not took and any(still.get(block.kind, block.until - 1) < block.until for block in closed):
        yield "a closed door opens early only by a grant, new credentials or lift_block"
    if not took and after.backoff.retry_at < before.backoff.retry_at:
        yield "a back-off ends early only by a grant"


def _broken_by_answer(policy: Policy, before: State, received: AnswerReceived, after: State) -> Iterator[str]:
    """What follows from an outcome, told apart from how the machine keeps its counts."""
    flying, lost = before.attempt, before.lost
    if flying is not None and flying.id == received.id:
        if not flying.claimed:
            yield from _broken_by_outcome(policy, before, flying, received, after)
    elif lost is not None and lost.id == received.id:
        if before.granted_at > lost.started and after.blocks != before.blocks:
            yield "late news of a closed door is not believed once something later was granted"
    elif after != before:
        yield "an answer to an attempt that is not remembered changes nothing"


def _broken_by_outcome(
    policy: Policy, before: State, attempt: Attempt, received: AnswerReceived, after: State
) -> Iterator[str]:
    answer, counts = received.answer, before.backoff
    failed = isinstance(answer, Failed | Malformed) or (isinstance(answer, Abandoned) and counts.abandoned > 0)
    if failed:
        longest = min(policy.retry_cap, policy.retry_base * 2.0 ** min(counts.failures, 40))
        if after.backoff.retry_at < after.now + longest / 2 - TICK:
            yield "a failure is followed by half of the doubled back-off at least"
        if after.backoff.failures != min(counts.failures + 1, 40):
            yield "every failure is counted"
    if isinstance(answer, Abandoned) and not failed and after.backoff.abandoned != 1:
        yield "every attempt that is given up is counted"
    granted = isinstance(answer, Granted) and after.granted_at == attempt.started
    if granted and any(block.since < attempt.started for block in after.blocks):
        yield "a grant opens every door that was known to be closed before it was asked for"


def _broken_by_belief(
    policy: Policy, before: State, token: AccessToken, rejected: TokenRejected, after: State
) -> Iterator[str]:
    """A rejection is believed at most once an interval, and on thin evidence only of a token that has been about."""
    now = after.now
    if now >= token.refresh_at and rejected.challenge is Challenge.TOKEN:
        return
    if now < before.rejections.allowed_at or after.rejections.allowed_at < now + policy.rejection_interval - TICK:
        yield "rejections are believed at most once in each rejection_interval"
    if rejected.challenge is Challenge.UNKNOWN:
        if now < token.started + min(policy.rejection_interval, token.lifetime / 4) - TICK:
            yield "a 401 that names no cause counts only against a token that has been about"
    elif rejected.challenge is not Challenge.TOKEN:
        yield "only a 401 speaks of the token"
