"""``step(policy, state, input) -> (state, happenings)``: everything that moves a state, and all that comes of it.

Each step first lets time pass up to the moment of its input; everything after that reads ``state.now`` alone.
Network input never raises: it becomes state. Local misuse (a claim that ``decide`` does not allow) is refused by the
machine before it steps.
"""

from __future__ import annotations

import hashlib
from typing import assert_never

from evertoken import _schedule
from evertoken._challenge import Challenge
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
)
from evertoken._http import Seen
from evertoken._look import decide, wait_after
from evertoken._policy import TICK, Policy, whole_ticks
from evertoken._problems import Problem, ProblemKind
from evertoken._shared_problems import ASKED_ELSEWHERE, LOST, REPORTED
from evertoken._states import (
    LONG_AGO,
    MOST_DOUBLINGS,
    MOST_LIFTED,
    NEVER,
    AccessToken,
    Attempt,
    BackOff,
    Block,
    BlockKind,
    Credentials,
    Dropped,
    Rejections,
    State,
)
from evertoken.happenings import CredentialsReplaced as SecretReplaced
from evertoken.happenings import (
    EndpointBlocked,
    EndpointUnblocked,
    Happening,
    RejectionJudged,
    RequestEnded,
    RequestStarted,
)
from evertoken.outcomes import Abandoned, Blocked, Failed, Granted, Ignored, Malformed, Outcome, Postponed, Stale

Happenings = tuple[Happening, ...]

_KINDS = tuple(BlockKind)
_REFUSALS = (BlockKind.REFUSED, BlockKind.UNCLEAR)

REJECTED = Problem(
    ProblemKind.REJECTED,
    "The API rejected the token that was in hand",
    "It may have been revoked; another one is asked for.",
)


def step(policy: Policy, state: State, happened: Input) -> tuple[State, Happenings]:
    """The state after ``happened``, and what came of it. Total: every input has a meaning in every state."""
    settled, by_time = pass_time(policy, state, happened.now)
    after, by_input = _take(policy, settled, happened)
    return after, by_time + by_input


def _take(policy: Policy, settled: State, happened: Input) -> tuple[State, Happenings]:
    match happened:
        case AnswerReceived():
            return _receive(policy, settled, happened)
        case RequestClaimed():
            return _claim(policy, settled, happened)
        case TokenRejected():
            return _reject(policy, settled, happened)
        case TokenWorked():
            return _note_use(settled, happened), ()
        case BlockReported():
            return _report(policy, settled, happened)
        case CredentialsReplaced():
            return _replace_credentials(settled, happened)
        case BlockLifted():
            return _lift_blocks(policy, settled)
        case _:
            assert_never(happened)


# What time alone has done by now
# -------------------------------


def settle(policy: Policy, state: State, now: float) -> State:
    """``state`` as it stands at ``now``, or at its own moment if that is later.

    An attempt past its deadline is lost, and counts as a failure; a rejected token is forgotten when it is over.
    """
    return state if now <= state.now else pass_time(policy, state, now)[0]


def pass_time(policy: Policy, state: State, now: float) -> tuple[State, Happenings]:
    """The same state as :func:`settle` gives, and the happenings that time alone has brought about by then."""
    if now <= state.now:  # A clock that goes back stands still here.
        return state, ()
    happenings: Happenings = ()
    attempt, blocks, rejections = state.attempt, state.blocks, state.rejections
    if attempt is not None and now >= attempt.deadline:
        state = state._replace(attempt=None, lost=attempt)
        state = back_off_from(policy, state, attempt, attempt.deadline, LOST)
        happenings = (RequestEnded(attempt.id, Failed(LOST)),)
    if blocks:
        happenings += tuple([EndpointUnblocked(block.kind) for block in blocks if state.now < block.until <= now])
    if rejections.dropped or rejections.believed:
        kept = rejections._replace(dropped=tuple([entry for entry in rejections.dropped if now < entry.forget_at]))
        state = state._replace(rejections=forgiven(kept, now))
    return state.at(now), happenings


def back_off_from(
    policy: Policy, state: State, attempt: Attempt, moment: float, problem: Problem, *, malformed: bool = False
) -> State:
    """``state`` after ``attempt`` came to nothing: one more failure, and a back-off that counts from ``moment``."""
    backoff = state.backoff.one_more(attempt.started, malformed=malformed)
    retry_at = max(backoff.retry_at, moment + wait_after(policy, backoff, attempt))
    return state._replace(backoff=backoff._replace(retry_at=retry_at), problem=problem)


def forgiven(rejections: Rejections, now: float) -> Rejections:
    """``rejections`` as they stand at ``now``: the row of those that were believed ends at ``forgive_at``.

    It ends only once the token in hand has served a call: an API that rejects every token is not forgiven by time.
    """
    if rejections.believed and rejections.worked and now >= rejections.forgive_at:
        return rejections._replace(believed=0, forgive_at=LONG_AGO)
    return rejections


# Claims
# ------


def _claim(policy: Policy, state: State, claimed: RequestClaimed) -> tuple[State, Happenings]:
    """Take the one slot for an attempt that starts now, and charge the budget for it, whatever comes of it."""
    attempt = Attempt(
        id=state.next_id,
        started=state.now,
        deadline=state.now + _schedule.attempt_seconds(policy, claimed.tiers, asks=claimed.asks),
        draw=claimed.draw,
        generation=state.credentials.generation,
        tiers=claimed.tiers,
        asks=claimed.asks,
    )
    budget = _schedule.charge(policy, state.budget, state.now)
    after = state._replace(attempt=attempt, next_id=state.next_id + 1, budget=budget)
    return after, (RequestStarted(attempt.id),)


# What an answer means, given the state: verdicts without consequences
# --------------------------------------------------------------------

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
    """A name by which a token is known again, and from which the token cannot be worked out."""
    return hashlib.sha256(value.encode("ascii", "replace")).hexdigest()


def remembered(state: State, request_id: int) -> Attempt | None:
    """The attempt with that id, if it is in flight or the latest lost one: no other is remembered."""
    attempt, lost = state.attempt, state.lost
    if attempt is not None and attempt.id == request_id:
        return attempt
    return lost if lost is not None and lost.id == request_id else None


def _judge(
    policy: Policy, state: State, attempt: Attempt, answer: Outcome, seen: Seen, *, late: bool
) -> Outcome | AccessToken:
    """What the answer to ``attempt`` amounts to in a settled state; for a grant that is taken, its token.

    May differ from the answer: a token can be dead, old, or known to be bad. An answer from a store for which the
    endpoint was not ``asked`` must bring a new token or a block. Anything else is postponed, because ``decide`` would
    have the store looked at again at once.
    """
    unasked = not seen.asked
    if isinstance(answer, Granted):
        judged = _judge_grant(policy, state, attempt, answer, late=late, unasked=unasked)
    elif isinstance(answer, Blocked) and _is_stale(state, attempt, answer):
        return Stale()
    else:
        judged = Ignored() if late and _is_overtaken(state, attempt, answer) else answer
    is_news = isinstance(judged, AccessToken | Postponed) or (isinstance(judged, Blocked) and seen.ends is not None)
    return judged if late or is_news or not unasked else _postponed(policy, state, attempt, seen)


def _is_stale(state: State, attempt: Attempt, blocked: Blocked) -> bool:
    return blocked.kind is BlockKind.REFUSED and attempt.generation != state.credentials.generation


def _postponed(policy: Policy, state: State, attempt: Attempt, seen: Seen) -> Postponed:
    """What is made of an answer that nobody was asked for, and that is no news.

    The store may say when to look there again. If it does not, the pause is drawn, or a fleet would look all at once.
    """
    soon = state.now + whole_ticks(policy.store_wait * (0.1 + 0.4 * attempt.draw))
    return Postponed(soon if seen.look_at is None else seen.look_at, ASKED_ELSEWHERE)


def _is_overtaken(state: State, lost: Attempt, answer: Outcome) -> bool:
    """Whether what came of a lost attempt is no longer of any use.

    Its failure was counted when it was lost, so a late failure must not count again. A late block says how things were
    before the newer grant.
    """
    return isinstance(answer, (Failed, Malformed, Abandoned, Postponed)) or state.granted_at > lost.started


def _judge_grant(
    policy: Policy, state: State, attempt: Attempt, granted: Granted, *, late: bool, unasked: bool
) -> Outcome | AccessToken:
    """Whether a token is taken; what came of the attempt if it is not.

    Of the tokens that the endpoint issues the newest is kept. A store may give one that was issued before ours, so
    there the one is kept that lives longer.
    """
    token, held = token_of(policy, state, attempt, granted), state.token
    if _is_shunned(state, token.value):
        return Ignored() if late else Failed(REISSUED)
    if state.now >= token.fresh_until:
        return Ignored() if late else Failed(DEAD_ON_ARRIVAL)
    if held is None:
        return token
    if unasked:
        return token if token.fresh_until > held.fresh_until else Ignored()
    return Ignored() if (held.started, late) > (attempt.started, False) else token


def _is_shunned(state: State, value: str) -> bool:
    """Whether the API rejected this very token within the last ``rejection_interval``.

    Then the endpoint's issuing it once more does not make it good: taking it would only bring the next 401.
    """
    name = digest(value)
    return any(entry.digest == name and state.now < entry.shunned_until for entry in state.rejections.dropped)


def token_of(policy: Policy, state: State, attempt: Attempt, granted: Granted) -> AccessToken:
    """The token that ``granted`` brings at ``state.now``.

    Some providers repeat a token until it expires. Each repetition would make the next refresh due sooner, so it is
    spaced like a failure.
    """
    token = _schedule.make_token(
        policy, granted, started=attempt.started, received=state.now, draw=attempt.draw, tiers=attempt.tiers
    )
    if state.token is None or state.token.value != token.value:
        return token
    pause = _schedule.back_off(policy, state.backoff.repeats + 1, attempt.draw)
    return token.due_no_earlier_than(state.now + pause)


# What came of an attempt
# -----------------------


def _receive(policy: Policy, state: State, received: AnswerReceived) -> tuple[State, Happenings]:
    attempt = remembered(state, received.id)
    if attempt is None:
        return state, (RequestEnded(received.id, Ignored()),)
    before, looked_at = state, attempt.started
    late, seen = attempt is state.lost, received.seen or Seen(attempt.started)
    # An answer speaks of the moment when the endpoint was asked: a pause since then, here or there, is life lost.
    attempt = attempt._replace(started=min(whole_ticks(seen.asked_at), state.now))
    judged = _judge(policy, state, attempt, received.answer, seen, late=late)
    if (seen.ends, seen.look_at) != (None, None) and isinstance(judged, Blocked | Failed | Malformed):
        state = _lifted(state, _KINDS, found_until=looked_at)
    outcome = received.answer if isinstance(judged, AccessToken) else judged
    if late:
        after = _apply_late(policy, state._replace(lost=None), attempt, judged, received.answer, seen=seen)
    else:
        after = _apply(policy, state._replace(attempt=None), attempt, judged, seen)
        if not seen.asked or isinstance(judged, Postponed) or (isinstance(judged, Failed) and judged.unsent):
            after = after._replace(budget=_schedule.give_back(policy, after.budget, after.now))
    return after, (*_changes_of_blocks(before, after), RequestEnded(received.id, outcome, asked=seen.asked))


def _apply_late(
    policy: Policy, state: State, lost: Attempt, judged: Outcome | AccessToken, answer: Outcome, *, seen: Seen
) -> State:
    """The answer to an attempt that was already counted as lost.

    A grant and a block take effect as if they had come in time. A failure does not count again: losing the attempt was
    the failure. Only its explanation replaces "no answer", and its Retry-After is obeyed.
    """
    if not isinstance(judged, Ignored):
        return _apply(policy, state, lost, judged, seen)
    if isinstance(answer, Failed | Malformed) and state.problem == LOST:  # A late answer says better why.
        state = state._replace(problem=answer.problem)
    if isinstance(answer, Failed) and answer.retry_after is not None:
        return _hold_off(policy, state, _as_if_without_store(lost, seen), answer.retry_after)
    return state


def _apply(policy: Policy, state: State, attempt: Attempt, judged: Outcome | AccessToken, seen: Seen) -> State:
    match judged:
        case AccessToken():
            return _grant(policy, state, attempt, judged, unasked=not seen.asked)
        case Failed() | Malformed():
            return _fail(policy, state, attempt, judged, seen)
        case Blocked() if seen.ends is None:
            return _block(policy, state, attempt, judged)
        case Blocked():
            return _block_as_told(policy, state, attempt, judged, seen)
        case Postponed():
            return _postpone(policy, state, judged)
        case _:  # Abandoned, stale, or a token that something newer has overtaken: the slot is free, nothing else.
            return state


def _fail(policy: Policy, state: State, attempt: Attempt, failed: Failed | Malformed, seen: Seen) -> State:
    """The state after a failure: the next request waits for a back-off.

    The back-off is our own. Where a store keeps the back-off of the whole fleet, ours lasts a minute at most, and where
    the store states the moment, it is that moment.
    """
    attempt = _as_if_without_store(attempt, seen)
    lasting = isinstance(failed, Malformed) or failed.lasting
    state = back_off_from(policy, state, attempt, state.now, failed.problem, malformed=lasting)
    if seen.look_at is not None:
        retry_at = _within_a_look(policy, state, seen.look_at)
        return state._replace(backoff=state.backoff._replace(retry_at=retry_at))
    if isinstance(failed, Malformed) or failed.retry_after is None:
        return state
    return _hold_off(policy, state, attempt, failed.retry_after)


def _as_if_without_store(attempt: Attempt, seen: Seen) -> Attempt:
    """``attempt``; if the store was not there, as an attempt that went by no store.

    Then no store holds the waits of the fleet, and those of this machine count in full.
    """
    return attempt._replace(tiers=0) if seen.store_down else attempt


def _postpone(policy: Policy, state: State, postponed: Postponed) -> State:
    """The state after an attempt for which nothing was sent, so that no counter moves.

    While the token in hand is good until then, its refresh is merely due a little later; otherwise the next request
    waits.
    """
    token, until = state.token, whole_ticks(postponed.until)
    if token is not None and state.now < until <= token.fresh_until:
        return state._replace(token=token.due_no_earlier_than(until))
    retry_at = max(state.backoff.retry_at, _within_a_look(policy, state, until))
    return state._replace(backoff=state.backoff._replace(retry_at=retry_at), problem=postponed.problem)


def _within_a_look(policy: Policy, state: State, moment: float) -> float:
    """``moment``, moved to where a store may be looked at again: after now, and within :func:`longest_look`."""
    return min(state.now + _schedule.longest_look(policy), max(state.now + TICK, whole_ticks(moment)))


def _hold_off(policy: Policy, state: State, attempt: Attempt, seconds: float) -> State:
    """The state after a failure whose answer states a wait of ``seconds`` (Retry-After, RFC 9110 section 10.2.3).

    The longer of it and the back-off counts; with a shared store a minute at most, since the store has the rest.
    """
    wait = _schedule.stated_wait(policy, seconds, policy.rate_limited_wait_cap, attempt.draw)
    if attempt.tiers:
        wait = min(wait, _schedule.longest_look(policy))
    retry_at = max(state.backoff.retry_at, state.now + wait)
    found = max(state.backoff.found, attempt.started)
    return state._replace(backoff=state.backoff._replace(retry_at=retry_at, found=found))


def _grant(policy: Policy, state: State, attempt: Attempt, token: AccessToken, *, unasked: bool) -> State:
    """The state with ``token`` in hand: what went wrong before it was asked for is over.

    A token that a store gave us was granted to another process. It does not prove our credentials, and if it is the one
    in hand already, that does not say that the endpoint repeats its tokens.
    """
    repeated = state.token is not None and state.token.value == token.value
    repeats = min(state.backoff.repeats + (not unasked), MOST_DOUBLINGS) if repeated else 0
    generation = state.credentials.generation
    proven = state.credentials.proven or (attempt.generation == generation and not unasked)
    outlived = state.backoff.found <= token.started
    # It is no longer among the dropped ones. A new token has yet to serve a call.
    name, worked = digest(token.value), repeated and state.rejections.worked
    dropped = tuple([entry for entry in state.rejections.dropped if entry.digest != name])
    return state._replace(
        token=token,
        backoff=BackOff(repeats=repeats) if outlived else state.backoff._replace(repeats=repeats),
        blocks=tuple([block for block in state.blocks if block.found > token.started]),
        budget=_schedule.retuned(policy, state.budget, state.now, token.lifetime),
        rejections=state.rejections._replace(worked=worked, dropped=dropped),
        credentials=Credentials(generation, proven),
        granted_at=max(state.granted_at, token.started),
        problem=None if outlived else state.problem,
    )


# Blocks
# ------


def _block(policy: Policy, state: State, attempt: Attempt, blocked: Blocked) -> State:
    """The state once the endpoint has turned us away, by an answer that speaks of more than this one attempt.

    The block lasts as long as our own wait for its kind, and never less than the server states.
    """
    kind, times = blocked.kind, _times(state, blocked.kind)
    stated = _stated(policy, kind, blocked.retry_after, attempt.draw)
    if kind is BlockKind.RATE_LIMITED:  # One more failure, and never a shorter wait than that asks for.
        state = state._replace(backoff=state.backoff.one_more(attempt.started))
        stated = max(stated, _schedule.back_off(policy, state.backoff.failures, attempt.draw))
    if kind is BlockKind.RATE_LIMITED and blocked.retry_after is not None:
        own = 0.0
    elif _is_doubted(state, blocked):
        own = whole_ticks(policy.doubted_refusal_wait)
        state = state._replace(credentials=state.credentials._replace(proven=False))
    else:
        own, times = _counted_wait(policy, state, kind)
    until = look_at = state.now + max(own, stated)
    if attempt.asks and not attempt.tiers and kind in _REFUSALS:  # The callable may have another secret by then.
        look_at = min(until, state.now + _schedule.longest_look(policy))
    return _with_block(state, Block(kind, until, attempt.started, times, blocked.problem, look_at))


def _block_as_told(policy: Policy, state: State, attempt: Attempt, blocked: Blocked, seen: Seen) -> State:
    """The state with a block that a shared store knows of, which has exactly the moments that the store states.

    How often in a row it was met is counted in the store. It takes the place of all blocks that were known here before;
    only what was reported during the look is kept beside it.
    """
    ends = seen.ends if seen.ends is not None else state.now
    until = min(whole_ticks(ends), state.now + _schedule.longest_wait(policy, blocked.kind))
    until = max(until, state.now + TICK)
    look_at = min(until, _within_a_look(policy, state, until if seen.look_at is None else seen.look_at))
    told = Block(blocked.kind, until, attempt.started, _times(state, blocked.kind), blocked.problem, look_at)
    known = state.block(told.kind)
    if known is not None and known.until <= state.now:
        state = state._replace(blocks=tuple([block for block in state.blocks if block is not known]))
    return _with_block(state, told)


def _is_doubted(state: State, blocked: Blocked) -> bool:
    """Whether a refusal may be the server's mistake: the first one of credentials that were granted with before."""
    of_credentials = blocked.kind is BlockKind.REFUSED and blocked.problem.kind is ProblemKind.CREDENTIALS_REFUSED
    return of_credentials and state.credentials.proven


def _stated(policy: Policy, kind: BlockKind, seconds: float | None, draw: float) -> float:
    _, cap = _schedule.wait_and_cap(policy, kind)
    return 0.0 if seconds is None else _schedule.stated_wait(policy, seconds, cap, draw)


def _times(state: State, kind: BlockKind) -> int:
    """How often in a row a wait of our own has followed a block of this kind."""
    return next((block.times for block in state.blocks if block.kind is kind), 0)


def _counted_wait(policy: Policy, state: State, kind: BlockKind) -> tuple[float, int]:
    """Our own wait for this kind of block, doubled each time in a row, and how many times in a row that makes.

    A block that stands and is met again is the same one: its wait neither doubles nor counts once more.
    """
    times = _times(state, kind)
    if kind in [block.kind for block in state.standing]:
        return _schedule.own_wait(policy, kind, max(times - 1, 0)), times
    return _schedule.own_wait(policy, kind, times), min(times + 1, MOST_DOUBLINGS)


def _with_block(state: State, news: Block) -> State:
    """The state with ``news`` of a block. If one of the kind is known already, the later end of the two is kept.

    Blocks stand in the order of their enum, so that the order in which they were met changes no answer.
    """
    if news.until <= state.now:  # A report of a block that is over already.
        return state
    old = state.block(news.kind)
    if old is not None:
        latest = old if old.found >= news.found else news
        until, look_at = max(old.until, news.until), max(old.look_at, news.look_at)
        news = latest._replace(until=until, times=news.times, look_at=look_at)
    found = {block.kind: block for block in (*state.blocks, news)}
    return state._replace(blocks=tuple([found[kind] for kind in _KINDS if kind in found]), problem=news.problem)


def _report(policy: Policy, state: State, reported: BlockReported) -> tuple[State, Happenings]:
    """The state after an API or another process reported a block. A request under way is waited for all the same."""
    kind = reported.kind
    if reported.seconds is None:
        wait, times = _counted_wait(policy, state, kind)
    else:
        wait, times = _stated(policy, kind, reported.seconds, reported.draw), _times(state, kind)
    # Found a tick later: a grant to a request that was started at this very moment must not clear what is reported.
    look_at = state.now + (min(wait, _schedule.look_pause(policy, reported.draw)) if reported.tiers else wait)
    after = _with_block(state, Block(kind, state.now + wait, state.now + TICK, times, REPORTED[kind], look_at))
    return after, _changes_of_blocks(state, after)


def _replace_credentials(state: State, replaced: CredentialsReplaced) -> tuple[State, Happenings]:
    """New credentials end refused and unclear blocks three times between grants, and a lock once.

    Unclear ones too, since some servers say no more than 403 to a wrong secret. So often and no more, because secrets
    that are swapped in a loop must not knock; and once, because a lock is about the account or the address.
    """
    credentials = state.credentials
    refusals = _REFUSALS if credentials.refusals_lifted < MOST_LIFTED else ()
    after = _lifted(state, (*refusals, *(() if credentials.lock_lifted else (BlockKind.LOCKED,))))
    changes = _changes_of_blocks(state, after)
    ended = [change.kind for change in changes]
    credentials = Credentials(
        generation=credentials.generation + 1,
        lock_lifted=credentials.lock_lifted or BlockKind.LOCKED in ended,
        refusals_lifted=credentials.refusals_lifted + any(kind in _REFUSALS for kind in ended),
    )
    attempt = after.attempt
    if attempt is not None and attempt.id == replaced.attempt:
        attempt = attempt._replace(generation=credentials.generation)
    return after._replace(credentials=credentials, attempt=attempt), (*changes, SecretReplaced())


def _lift_blocks(policy: Policy, state: State) -> tuple[State, Happenings]:
    """All blocks are over, and what was wrong is no longer the problem.

    A wait that failures stated (a Retry-After of a day on a 503) ends too: what is left is at most our own back-off.
    """
    backoff = state.backoff
    own = _schedule.back_off(policy, backoff.failures, 1.0, backoff.malformed) if backoff.failures else 0.0
    backoff = backoff._replace(retry_at=min(backoff.retry_at, state.now + own))
    after = _lifted(state, _KINDS)._replace(backoff=backoff)
    return after, _changes_of_blocks(state, after)


def _lifted(state: State, kinds: tuple[BlockKind, ...], found_until: float = NEVER) -> State:
    """``state`` with its blocks of these ``kinds`` over now.

    They stay in it, since they hold how often in a row we have waited, which doubles the next wait.
    """
    standing = [block for block in state.standing if block.kind in kinds and block.found <= found_until]
    if not standing:
        return state
    now = state.now
    blocks = [block._replace(until=now, look_at=now) if block in standing else block for block in state.blocks]
    return state._replace(blocks=tuple(blocks), problem=None)


def _changes_of_blocks(before: State, after: State) -> tuple[EndpointBlocked | EndpointUnblocked, ...]:
    """What is told of blocks: first the kinds that no longer stand, then those that have begun to."""
    if after.blocks is before.blocks:
        return ()
    standing = after.standing
    stood, stands = [block.kind for block in before.standing], [block.kind for block in standing]
    return (
        *[EndpointUnblocked(kind) for kind in stood if kind not in stands],
        *[EndpointBlocked(block.kind, block.until, block.problem) for block in standing if block.kind not in stood],
    )


# Rejected tokens
# ---------------


def _reject(policy: Policy, state: State, rejected: TokenRejected) -> tuple[State, Happenings]:
    """Whether an API's word about a token (RFC 6750 section 3.1) is believed now: with one of three verdicts."""
    token = state.token
    if token is None or state.now >= token.fresh_until or token.authorization != rejected.authorization:
        return state, (RejectionJudged(Rejection.SUPERSEDED),)
    # A token that is due for renewal anyway is dropped on good evidence without charging the interval.
    uncharged = state.now >= token.refresh_at and rejected.challenge is Challenge.TOKEN
    if (uncharged or _is_credible(policy, state, token, rejected.challenge)) and _can_be_replaced(state):
        return _drop(policy, state, token, uncharged=uncharged), (RejectionJudged(Rejection.DROPPED),)
    return state._replace(rejections=_heard(policy, state, state.rejections)), (RejectionJudged(Rejection.KEPT),)


def _is_credible(policy: Policy, state: State, token: AccessToken, challenge: Challenge) -> bool:
    now, rejections = state.now, state.rejections
    if challenge is Challenge.UNKNOWN:
        if now < _schedule.bare_401_counts_from(policy, token):
            return False
    elif challenge is not Challenge.TOKEN:
        return False
    if now >= rejections.allowed_at:
        return True
    proven = rejections.worked and now >= _schedule.believed_again_from(policy, token)
    return proven and rejections.believed < policy.rejection_burst


def _heard(policy: Policy, state: State, rejections: Rejections) -> Rejections:
    """``rejections`` after one more was heard of, believed or not: a row of them goes on for ten intervals from now."""
    if not rejections.believed:
        return rejections
    return rejections._replace(forgive_at=state.now + _schedule.forgiving_pause(policy))


def _note_use(state: State, worked: TokenWorked) -> State:
    if state.rejections.worked or state.token is None or state.token.authorization != worked.authorization:
        return state
    return state._replace(rejections=forgiven(state.rejections._replace(worked=True), state.now))


def _can_be_replaced(state: State) -> bool:
    """Whether another token is on its way, or could be asked for at once if there were none.

    A look whether a block still stands promises no token: the block stands until the store says otherwise.
    """
    if state.attempt is not None:
        return not state.is_look
    return state.now >= state.unblock_at and isinstance(decide(state._replace(token=None)), SendRequest)


def _drop(policy: Policy, state: State, token: AccessToken, *, uncharged: bool) -> State:
    shunned_until = state.now + whole_ticks(policy.rejection_interval)
    entry = Dropped(digest(token.value), shunned_until, max(shunned_until, token.expires_at))
    rejections = state.rejections._replace(worked=False, dropped=(*state.rejections.dropped, entry))
    if not uncharged:
        believed = min(rejections.believed + 1, MOST_DOUBLINGS)
        allowed_at = state.now + _schedule.rejection_pause(policy, believed)
        rejections = rejections._replace(believed=believed, allowed_at=allowed_at)
    return state._replace(token=None, rejections=_heard(policy, state, rejections), problem=REJECTED)
