"""What an answer means, given the state: verdicts without consequences."""

from __future__ import annotations

import hashlib

from evertoken import _schedule
from evertoken._policy import Policy
from evertoken._problems import Problem, ProblemKind
from evertoken._records import AccessToken, Attempt, BlockKind
from evertoken._states import State
from evertoken.outcomes import Abandoned, Blocked, Failed, Granted, Ignored, Malformed, Outcome, Stale

__all__ = ("answered", "digest", "judge", "token_of")

DEAD_ON_ARRIVAL = Problem(
    ProblemKind.DEAD_ON_ARRIVAL,
    "The token had expired by the time it arrived",
    "The endpoint is slow, or its tokens live shorter than an answer takes.",
)
REISSUED = Problem(
    ProblemKind.REISSUED,
    "The token endpoint issued again the very token that the API had just rejected",
    "It is taken once Policy.rejection_interval has passed; until then the provider should look into it.",
)


def digest(value: str) -> str:
    """A name for a token that does not give the token away."""
    return hashlib.sha256(value.encode("ascii", "replace")).hexdigest()


def answered(state: State, request_id: int) -> Attempt | None:
    """The attempt with that id, if it is in flight or the latest lost one: no other is remembered."""
    attempt, lost = state.attempt, state.lost
    if attempt is not None and attempt.id == request_id:
        return attempt
    return lost if lost is not None and lost.id == request_id else None


def judge(policy: Policy, state: State, attempt: Attempt, answer: Outcome) -> Outcome | AccessToken:
    """What the answer to ``attempt`` amounts to in a settled state; for a grant that is taken, its token.

    May differ from the answer: a token can be dead, old, or known to be bad.
    """
    if isinstance(answer, Granted):
        return _judge_grant(policy, state, attempt, answer)
    is_refusal = isinstance(answer, Blocked) and answer.kind is BlockKind.REFUSED
    if is_refusal and attempt.generation != state.credentials.generation:
        return Stale()
    if attempt is state.lost and _is_overtaken(state, attempt, answer):
        return Ignored()
    return answer


def _is_overtaken(state: State, lost: Attempt, answer: Outcome) -> bool:
    """A late failure was counted as a loss already; late news of a block is stale after a newer grant."""
    return isinstance(answer, (Failed, Malformed, Abandoned)) or state.granted_at > lost.started


def _judge_grant(policy: Policy, state: State, attempt: Attempt, granted: Granted) -> Outcome | AccessToken:
    late = attempt is state.lost
    token = token_of(policy, state, attempt, granted)
    if _is_shunned(state, token.value, state.now):
        return Ignored() if late else Failed(REISSUED)
    if state.now >= token.fresh_until:
        return Ignored() if late else Failed(DEAD_ON_ARRIVAL)
    if state.token is not None and (state.token.started, late) > (attempt.started, False):
        return Ignored()
    return token


def _is_shunned(state: State, value: str, now: float) -> bool:
    """Whether the API rejected this token so lately that the endpoint's word does not make it good."""
    dropped = state.rejections.dropped
    if not dropped:
        return False
    name = digest(value)
    return any(entry.digest == name and now < entry.shunned_until for entry in dropped)


def token_of(policy: Policy, state: State, attempt: Attempt, granted: Granted) -> AccessToken:
    """The token that ``granted`` brings at ``state.now``.

    Some providers repeat a token until it expires. Each repetition would make the next refresh due sooner, so it is
    spaced like a failure.
    """
    life = policy.default_lifetime if granted.expires_in is None else granted.expires_in
    token = _schedule.make_token(
        policy,
        granted.access_token,
        granted.scope,
        life,
        started=attempt.started,
        received=state.now,
        draw=attempt.draw,
    )
    if state.token is None or state.token.value != token.value:
        return token
    pause = _schedule.back_off(policy, state.backoff.repeats + 1, attempt.draw)
    return token.due_no_earlier_than(state.now + pause)
