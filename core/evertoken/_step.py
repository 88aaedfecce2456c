"""``step(policy, state, input) -> (state, happenings)``: everything that changes state, without side effects.

Network input never raises: it becomes state. Local misuse (a claim that ``decide`` does not allow) is refused by the
machine before it steps.
"""

from __future__ import annotations

from typing import assert_never

from evertoken import _schedule, happenings
from evertoken._actions import Rejection, SendRequest
from evertoken._challenge import Challenge
from evertoken._decide import LOST, back_off_from, decide, forgiven, pass_time
from evertoken._inputs import (
    AnswerReceived,
    BlockLifted,
    CredentialsReplaced,
    DoorClosed,
    Input,
    RequestClaimed,
    TokenRejected,
    TokenWorked,
)
from evertoken._judge import digest, judge, which
from evertoken._policy import TICK, Policy, whole_ticks
from evertoken._problems import Problem, ProblemKind
from evertoken._records import (
    MOST_DOUBLINGS,
    MOST_OPENED,
    AccessToken,
    Attempt,
    BackOff,
    Block,
    BlockKind,
    Doublings,
    Dropped,
    Keys,
    Rejections,
)
from evertoken._states import State
from evertoken.happenings import EndpointBlocked, EndpointUnblocked, Happening, RejectionJudged, RequestEnded
from evertoken.outcomes import (
    Failed,
    Ignored,
    Locked,
    Malformed,
    Outcome,
    RateLimited,
    Refused,
    Unclear,
)

__all__ = ("step",)

Happenings = tuple[Happening, ...]

REJECTED = Problem(
    ProblemKind.REJECTED,
    "The API rejected the token that was in hand",
    "It may have been revoked; another one is asked for.",
)
REPORTED = {
    BlockKind.LOCKED: Problem(
        ProblemKind.LOCKED,
        "An API call or a shared store reported that the account or this address is locked out",
        "Find out what sent bad or too many token requests before lifting the block.",
    ),
    BlockKind.REFUSED: Problem(
        ProblemKind.CREDENTIALS_REFUSED,
        "A shared store reports that the token endpoint refused these credentials",
        "Set the right credentials: another process has tried these already.",
    ),
    BlockKind.RATE_LIMITED: Problem(
        ProblemKind.RATE_LIMITED, "A shared store reports that the token endpoint's rate limit is reached"
    ),
}


def step(policy: Policy, state: State, happened: Input) -> tuple[State, Happenings]:
    """The state after ``happened``, and what came of it. Total: every input has a meaning in every state."""
    settled, by_time = pass_time(policy, state, happened.now)
    after, by_input = _take(policy, settled, happened)
    return after, by_time + by_input


def _take(policy: Policy, settled: State, happened: Input) -> tuple[State, Happenings]:
    match happened:
        case RequestClaimed():
            return _claim(policy, settled, happened)
        case AnswerReceived():
            return _receive(policy, settled, happened)
        case TokenRejected():
            return _reject(policy, settled, happened)
        case TokenWorked():
            return _note_use(settled, happened), ()
        case DoorClosed():
            return _close_door(policy, settled, happened)
        case CredentialsReplaced():
            return _replace_credentials(settled)
        case BlockLifted():
            return _lift_blocks(policy, settled)
        case _:
            assert_never(happened)


# Claims
# ------


def _claim(policy: Policy, state: State, claimed: RequestClaimed) -> tuple[State, Happenings]:
    """One slot, one attempt, one charge."""
    attempt = Attempt(
        id=state.next_id,
        started=state.now,
        deadline=state.now + whole_ticks(policy.request_timeout),
        draw=claimed.draw,
        generation=state.keys.generation,
    )
    budget = _schedule.charge(policy, state.budget, state.now)
    after = state._replace(attempt=attempt, next_id=state.next_id + 1, budget=budget)
    return after, (happenings.RequestStarted(attempt.id),)


# What came of an attempt
# -----------------------


def _receive(policy: Policy, state: State, received: AnswerReceived) -> tuple[State, Happenings]:
    attempt = which(state, received.id)
    if attempt is None:
        return state, (RequestEnded(received.id, Ignored()),)
    judged = judge(policy, state, attempt, received.answer)
    outcome = received.answer if isinstance(judged, AccessToken) else judged
    if attempt is state.lost:
        after = _apply_late(policy, state._replace(lost=None), attempt, judged, received.answer)
    else:
        after = _apply(policy, state.without_attempt(), attempt, judged)
    return after, (*_changes_of_blocks(state, after), RequestEnded(received.id, outcome))


def _apply_late(policy: Policy, state: State, lost: Attempt, judged: Outcome | AccessToken, answer: Outcome) -> State:
    """Late good news, and late news of a closed door, count. Of a late failure its words and a stated wait are kept."""
    if not isinstance(judged, Ignored):
        return _apply(policy, state, lost, judged)
    if isinstance(answer, Failed | Malformed) and state.problem == LOST:  # It says better why there was no answer.
        state = state._replace(problem=answer.problem)
    if isinstance(answer, Failed) and answer.retry_after is not None:
        return _hold_off(policy, state, lost, answer.retry_after)
    return state


def _apply(policy: Policy, state: State, attempt: Attempt, judged: Outcome | AccessToken) -> State:
    match judged:
        case AccessToken():
            return _grant(policy, state, attempt, judged)
        case Failed():
            state = back_off_from(policy, state, attempt, state.now, judged.problem, malformed=judged.lasting)
            return state if judged.retry_after is None else _hold_off(policy, state, attempt, judged.retry_after)
        case Malformed():
            return back_off_from(policy, state, attempt, state.now, judged.problem, malformed=True)
        case Refused() | Unclear() | Locked() | RateLimited():
            return _block(policy, state, attempt, judged)
        case _:  # Abandoned, stale, or a token that something newer has overtaken: the slot is free, nothing else.
            return state


def _hold_off(policy: Policy, state: State, attempt: Attempt, seconds: float) -> State:
    wait = _schedule.stated_wait(policy, seconds, policy.rate_limited_wait_cap, attempt.draw)
    retry_at = max(state.backoff.retry_at, state.now + wait)
    since = max(state.backoff.since, attempt.started)
    return state._replace(backoff=state.backoff._replace(retry_at=retry_at, since=since))


def _grant(policy: Policy, state: State, attempt: Attempt, token: AccessToken) -> State:
    """The token is ours: what went wrong before it was asked for is over."""
    repeated = state.token is not None and state.token.value == token.value
    repeats = min(state.backoff.repeats + 1, MOST_DOUBLINGS) if repeated else 0
    generation = state.keys.generation
    vouched = state.keys.vouched or attempt.generation == generation
    started = token.started
    outlived = state.backoff.since <= started
    blocks = tuple([block for block in state.blocks if block.since > started]) if state.blocks else ()
    return state._replace(
        token=token,
        backoff=BackOff(repeats=repeats) if outlived else state.backoff._replace(repeats=repeats),
        blocks=blocks,
        doublings=state.doublings if blocks else Doublings(),
        budget=_schedule.retuned(policy, state.budget, state.now, token.lifetime),
        rejections=_taken_back(state.rejections, token, worked=repeated and state.rejections.worked),
        keys=Keys(generation, vouched),
        granted_at=max(state.granted_at, started),
        problem=None if outlived else state.problem,
    )


def _taken_back(rejections: Rejections, token: AccessToken, *, worked: bool) -> Rejections:
    """``token`` has yet to work, unless it is the one in hand; and it is no longer among the dropped ones if it was."""
    if not rejections.dropped:
        return rejections._replace(worked=False) if rejections.worked and not worked else rejections
    name = digest(token.value)
    dropped = tuple(entry for entry in rejections.dropped if entry.digest != name)
    return rejections._replace(worked=worked, dropped=dropped)


# Closed doors
# ------------


def _block(policy: Policy, state: State, attempt: Attempt, outcome: Refused | Unclear | Locked | RateLimited) -> State:
    match outcome:
        case RateLimited():
            state, wait = _rate_limit(policy, state, attempt, outcome)
            kind = BlockKind.RATE_LIMITED
        case Refused():
            kind = BlockKind.REFUSED
            if _is_doubted(state, outcome):
                wait = whole_ticks(policy.doubted_refusal_wait)
                state = state._replace(keys=state.keys._replace(vouched=False))
            else:
                state, wait = _doubled(policy, state, kind)
        case _:
            kind = BlockKind.LOCKED if isinstance(outcome, Locked) else BlockKind.UNCLEAR
            state, wait = _doubled(policy, state, kind)
            wait = max(wait, _stated(policy, outcome.retry_after, kind, attempt.draw))
    block = Block(kind, state.now + wait, attempt.started, outcome.problem)
    return _with_block(state, block)


def _rate_limit(policy: Policy, state: State, attempt: Attempt, limited: RateLimited) -> tuple[State, float]:
    """A 429 counts as one more failure, and its wait is never shorter than the back-off that this asks for."""
    failures = min(state.backoff.failures + 1, MOST_DOUBLINGS)
    since = max(state.backoff.since, attempt.started)
    state = state._replace(backoff=state.backoff._replace(failures=failures, malformed=0, since=since))
    if limited.retry_after is None:
        state, wait = _doubled(policy, state, BlockKind.RATE_LIMITED)
    else:
        wait = _stated(policy, limited.retry_after, BlockKind.RATE_LIMITED, attempt.draw)
    return state, max(wait, _schedule.back_off(policy, failures, attempt.draw))


def _is_doubted(state: State, refused: Refused) -> bool:
    """The first refusal of credentials that this machine was granted with before: the server may err."""
    return refused.of == "credentials" and state.keys.vouched


def _stated(policy: Policy, seconds: float | None, kind: BlockKind, draw: float) -> float:
    _, cap = _schedule.wait_and_cap(policy, kind)
    return 0.0 if seconds is None else _schedule.stated_wait(policy, seconds, cap, draw)


def _doubled(policy: Policy, state: State, kind: BlockKind) -> tuple[State, float]:
    """Our own wait for this kind, doubled each time in a row; news of a door that is closed already doubles nothing."""
    place = _KINDS.index(kind)
    count = state.doublings[place]
    if kind in [block.kind for block in state.blocks]:
        return state, _schedule.own_wait(policy, kind, max(count - 1, 0))
    doublings = list(state.doublings)
    doublings[place] = min(count + 1, MOST_DOUBLINGS)
    return state._replace(doublings=Doublings._make(doublings)), _schedule.own_wait(policy, kind, count)


_KINDS = tuple(BlockKind)
_OPENED = (BlockKind.REFUSED, BlockKind.UNCLEAR)


def _with_block(state: State, news: Block) -> State:
    """News of the same kind keeps the later moment. Kinds stay in the order of their enum: no set decides anything."""
    if news.until <= state.now:  # A report that the door was closed for no time at all: it is open.
        return state
    others = [block for block in state.blocks if block.kind is not news.kind]
    if len(others) < len(state.blocks):
        (old,) = [block for block in state.blocks if block.kind is news.kind]
        latest = old if old.since >= news.since else news
        news = latest._replace(until=max(old.until, news.until))
    blocks = sorted([*others, news], key=lambda block: _KINDS.index(block.kind)) if others else [news]
    return state._replace(blocks=tuple(blocks), problem=news.problem)


def _close_door(policy: Policy, state: State, closed: DoorClosed) -> tuple[State, Happenings]:
    """A report from elsewhere. An exchange under way goes on."""
    if closed.seconds is not None:
        wait = _stated(policy, closed.seconds, closed.kind, closed.draw)
    else:
        state, wait = _doubled(policy, state, closed.kind)
    # A tick later: what was granted to a request of this very moment says nothing of what was heard during it.
    block = Block(closed.kind, state.now + wait, state.now + TICK, REPORTED[closed.kind])
    after = _with_block(state, block)
    return after, _changes_of_blocks(state, after)


def _replace_credentials(state: State) -> tuple[State, Happenings]:
    """New credentials open refused and unclear doors three times between grants, and a locked one once.

    Unclear ones too, since some servers say no more than 403 to a wrong secret. So often and no more, because secrets
    that are swapped in a loop must not knock; and once, because a lock is about the account or the address.
    """
    keys = state.keys
    lifted = [*(_OPENED if keys.opened < MOST_OPENED else ()), *(() if keys.unlocked else (BlockKind.LOCKED,))]
    blocks = tuple([block for block in state.blocks if block.kind not in lifted])
    gone = [block.kind for block in state.blocks if block.kind in lifted]
    keys = Keys(
        generation=keys.generation + 1,
        unlocked=keys.unlocked or BlockKind.LOCKED in gone,
        opened=keys.opened + any(kind in _OPENED for kind in gone),
    )
    problem = None if gone else state.problem
    after = state._replace(keys=keys, blocks=blocks, problem=problem)
    return after, (*_changes_of_blocks(state, after), happenings.CredentialsReplaced())


def _lift_blocks(policy: Policy, state: State) -> tuple[State, Happenings]:
    """All doors are open, and what was wrong behind them is no longer the problem.

    A wait that failures stated (a Retry-After of a day on a 503) ends too: what is left is at most our own back-off.
    """
    backoff = state.backoff
    own = _schedule.back_off(policy, backoff.failures, 1.0, backoff.malformed) if backoff.failures else 0.0
    backoff = backoff._replace(retry_at=min(backoff.retry_at, state.now + own))
    after = state._replace(blocks=(), backoff=backoff, problem=None if state.blocks else state.problem)
    return after, _changes_of_blocks(state, after)


def _changes_of_blocks(before: State, after: State) -> Happenings:
    """Each kind that stands no longer, then each that did not stand before."""
    if after.blocks is before.blocks:
        return ()
    stood, stands = [block.kind for block in before.blocks], [block.kind for block in after.blocks]
    return (
        *(EndpointUnblocked(kind) for kind in stood if kind not in stands),
        *(EndpointBlocked(kind, until, problem) for kind, until, *_, problem in after.blocks if kind not in stood),
    )


# Rejected tokens
# ---------------


def _reject(policy: Policy, state: State, rejected: TokenRejected) -> tuple[State, Happenings]:
    """Whether an API's word about a token is believed now; see ``Rejection`` for the three verdicts."""
    token = state.token
    if token is None or state.now >= token.fresh_until or token.authorization != rejected.authorization:
        return state, (RejectionJudged(Rejection.SUPERSEDED),)
    # A token that is due for renewal anyway is dropped on good evidence without charging the interval.
    free = state.now >= token.refresh_at and rejected.challenge is Challenge.TOKEN
    if (free or _is_credible(policy, state, token, rejected.challenge)) and _can_be_replaced(state):
        return _drop(policy, state, token, free=free), (RejectionJudged(Rejection.DROPPED),)
    return state._replace(rejections=_heard(policy, state, state.rejections)), (RejectionJudged(Rejection.KEPT),)


def _is_credible(policy: Policy, state: State, token: AccessToken, challenge: Challenge) -> bool:
    now, rejections = state.now, state.rejections
    if challenge is Challenge.UNKNOWN:
        if now < _schedule.unknown_evidence_at(policy, token):
            return False
    elif challenge is not Challenge.TOKEN:
        return False
    if now >= rejections.allowed_at:
        return True
    proven = rejections.worked and now >= _schedule.proven_evidence_at(policy, token)
    return proven and rejections.honoured < policy.rejection_burst


def _heard(policy: Policy, state: State, rejections: Rejections) -> Rejections:
    """A rejection was heard of now: a row of them, if there is one, is not over before long."""
    if not rejections.honoured:
        return rejections
    return rejections._replace(forgive_at=state.now + _schedule.forgiving_pause(policy))


def _note_use(state: State, worked: TokenWorked) -> State:
    if state.rejections.worked or state.token is None or state.token.authorization != worked.authorization:
        return state
    return state._replace(rejections=forgiven(state.rejections._replace(worked=True), state.now))


def _can_be_replaced(state: State) -> bool:
    """Whether another token is on its way, or could be asked for at once if there were none."""
    return state.attempt is not None or isinstance(decide(state._replace(token=None)), SendRequest)


def _drop(policy: Policy, state: State, token: AccessToken, *, free: bool) -> State:
    vouched_at = state.now + whole_ticks(policy.rejection_interval)
    entry = Dropped(digest(token.value), vouched_at, max(vouched_at, token.expires_at))
    rejections = state.rejections._replace(worked=False, dropped=(*state.rejections.dropped, entry))
    if not free:
        honoured = min(rejections.honoured + 1, MOST_DOUBLINGS)
        allowed_at = state.now + _schedule.rejection_pause(policy, honoured)
        rejections = rejections._replace(honoured=honoured, allowed_at=allowed_at)
    return state._replace(token=None, rejections=_heard(policy, state, rejections), problem=REJECTED)
