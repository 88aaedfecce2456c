"""The laws of the machine as pure functions of its states and steps: what may never be true, in any state, by any path.

    broken_in(policy, state, now)              -> the laws that this state breaks
    broken_by(policy, before, happened, after, told) -> the laws that this step breaks

Both give sentences, and none when all is well; what follows a colon is detail. They look only at what ``decide``,
``publish`` and ``step`` say, and compare that with ``_expected``, so they hold for an embedder's own policy too. The
explorer asks them in every state, the simulated world after every step.
"""

from __future__ import annotations

from typing import assert_never

from evertoken._challenge import Challenge
from evertoken._grammar import (
    AnswerReceived,
    BlockLifted,
    BlockReported,
    CredentialsReplaced,
    Input,
    RequestClaimed,
    TokenRejected,
    TokenWorked,
)
from evertoken._policy import TICK, Policy
from evertoken._problems import ProblemKind
from evertoken._schedule import charge
from evertoken._states import LONG_AGO, AccessToken, Attempt, BackOff, BlockKind, Rejections, State
from evertoken._step import digest, settle
from evertoken.happenings import Happening
from evertoken.testing.laws._answer_laws import check_answer
from evertoken.testing.laws._expected import (
    KNOWN,
    News,
    block_wait,
    blocked_until,
    blocks_but,
    counted,
    doubled,
    lifted,
    loss_retry_at,
    more,
    news_of,
    retry_wait,
    stands,
    stated,
    times_of,
    whole,
)
from evertoken.testing.laws._state_laws import check_problem, check_start
from evertoken.testing.laws._told_laws import check_told

_FORGIVEN = "rejections are forgiven when a token works and none was heard of for ten intervals"
_Rarer = TokenRejected | TokenWorked | BlockReported | CredentialsReplaced | BlockLifted
_REFUSED, _LOCKED, _UNCLEAR = BlockKind.REFUSED, BlockKind.LOCKED, BlockKind.UNCLEAR
_REPORTED = {
    BlockKind.LOCKED: ProblemKind.LOCKED,
    BlockKind.REFUSED: ProblemKind.CREDENTIALS_REFUSED,
    BlockKind.RATE_LIMITED: ProblemKind.RATE_LIMITED,
}


def liveness_bound(policy: Policy) -> float:
    """Seconds within which a token must be there once faults have ended and while somebody keeps asking.

    The token has to wait for the longest of these: a lost attempt and the longest back-off, the longest block, one
    refill of the budget. Two request timeouts come on top for the claim that was standing when the faults ended, which
    nobody has to give back before its deadline.
    """
    blocks = (policy.locked_wait_cap, policy.refused_wait_cap, policy.unclear_wait_cap, policy.rate_limited_wait_cap)
    longest = max(
        policy.request_timeout + max(policy.retry_cap, policy.malformed_cap),
        max(*blocks, policy.doubted_refusal_wait) + policy.wait_spread,
        policy.budget_interval,
    )
    return longest + 2 * policy.request_timeout


# One step
# --------


def broken_by(
    policy: Policy, before: State, happened: Input, after: State, told: tuple[Happening, ...] | None = None
) -> list[str]:
    """The laws that the step from ``before`` through ``happened`` to ``after`` breaks.

    ``told`` are the happenings that the step gave beside the state; without them, what it tells is not looked at.
    """
    found: list[str] = []
    now, earlier = before.now, before
    if now < happened.now:  # Otherwise ``before`` is settled already, as every state is at its own moment.
        now = happened.now
        settled = settle(policy, before, now)
        _check_time(policy, before, settled, found)
        before = settled
    if not after.now == before.now == now:
        found.append("the machine keeps the largest now of any input")
    if isinstance(happened, RequestClaimed):
        _check_claim(policy, before, happened, after, found)
    elif isinstance(happened, AnswerReceived):
        check_answer(policy, before, happened, after, found)
    else:
        _check_rarer(policy, before, happened, after, found)
    if told is not None:
        found += check_told(earlier, before, happened, after, told)
    return found


def _check_rarer(policy: Policy, before: State, happened: _Rarer, after: State, found: list[str]) -> None:
    match happened:
        case TokenRejected():
            _check_rejection(policy, before, happened, after, found)
        case TokenWorked():
            _check_use(before, happened, after, found)
        case BlockReported():
            _check_report(policy, before, happened, after, found)
        case CredentialsReplaced():
            _check_rotation(before, happened, after, found)
        case BlockLifted():
            _check_lift(policy, before, after, found)
        case _:
            assert_never(happened)


def _check_time(policy: Policy, before: State, settled: State, found: list[str]) -> None:
    """Check what time alone has done between two inputs."""
    attempt = before.attempt
    if attempt is not None and attempt.deadline <= settled.now:
        _check_loss(policy, before, attempt, settled, found)
    elif settled.attempt != attempt or settled.lost != before.lost or settled.backoff != before.backoff:
        found.append("an attempt holds its slot until its own outcome or its deadline")
    else:
        check_problem(settled, before.problem, found)
    if (
        settled.token != before.token
        or settled.budget is not before.budget
        or settled.blocks is not before.blocks
        or settled.credentials is not before.credentials
        or settled.next_id != before.next_id
        or settled.granted_at != before.granted_at
    ):
        found.append("time alone takes no token, forgets no block, refunds no request and replaces no credentials")
    _check_rejections_in_time(before, settled, found)


def _check_loss(policy: Policy, before: State, attempt: Attempt, settled: State, found: list[str]) -> None:
    backoff = before.backoff
    failures, learnt = more(backoff.failures), max(backoff.found, attempt.started)
    backoff = BackOff(failures, 0, backoff.repeats, loss_retry_at(policy, before, attempt), learnt)
    if settled.attempt is not None or settled.lost != attempt:
        found.append("an attempt past its deadline is lost")
    check_problem(settled, ProblemKind.LOST, found)
    if settled.backoff != backoff:
        found.append("a lost attempt is one failure more, with a back-off from its deadline")


def _check_rejections_in_time(before: State, settled: State, found: list[str]) -> None:
    was, is_now = before.rejections, settled.rejections
    if was is is_now and not was.believed and not was.dropped:
        return
    over = was.believed > 0 and was.worked and settled.now >= was.forgive_at
    if (is_now.believed, is_now.forgive_at) != ((0, LONG_AGO) if over else (was.believed, was.forgive_at)):
        found.append(_FORGIVEN)
    remembered = tuple(entry for entry in was.dropped if settled.now < entry.forget_at)
    if (is_now.allowed_at, is_now.worked, is_now.dropped) != (was.allowed_at, was.worked, remembered):
        found.append("a dropped token is remembered until it would have expired")


def _check_claim(policy: Policy, before: State, claimed: RequestClaimed, after: State, found: list[str]) -> None:
    """A claim takes the one slot, only while ``poll`` allows it, and is charged to the budget at once."""
    now = before.now
    check_start(before, now, claimed.min_ttl, "start_request", found)
    seconds = policy.request_timeout * (2 if claimed.asks else 1) + policy.store_wait * claimed.tiers
    generation = before.credentials.generation
    attempt = Attempt(before.next_id, now, now + whole(seconds), claimed.draw, generation, claimed.tiers, claimed.asks)
    if after.attempt != attempt or after.next_id != before.next_id + 1:
        found.append("an attempt begins with a claim, has an id of its own, and request_timeout to its deadline")
    budget = charge(policy, before.budget, now)
    if after.budget != budget:
        found.append(f"the budget is charged one for an exchange that starts: {before.budget} became {after.budget}")
    if (
        after.token is not before.token
        or after.blocks is not before.blocks
        or after.backoff is not before.backoff
        or after.rejections is not before.rejections
        or after.credentials is not before.credentials
        or after.lost is not before.lost
        or after.problem is not before.problem
        or after.granted_at != before.granted_at
    ) and before != after._replace(attempt=before.attempt, next_id=before.next_id, budget=before.budget):
        found.append("a claim takes the slot and its charge, and changes nothing else")


# News from elsewhere
# -------------------


def _check_rejection(policy: Policy, before: State, rejected: TokenRejected, after: State, found: list[str]) -> None:
    """A rejection counts only of the token in hand, is believed only so often, and only if another token can be had."""
    token, now = before.token, before.now
    if token is None or now >= token.fresh_until or token.authorization != rejected.authorization:
        if after != before:
            found.append("a rejection of any token but the one in hand changes nothing")
        return
    shut: list[str] = []
    if before.attempt is None:
        check_start(before._replace(token=None), now, 0.0, "", shut)
    free = now >= token.refresh_at and rejected.challenge is Challenge.TOKEN
    if after.token is not None:
        if after != before._replace(rejections=_heard(policy, before, before.rejections)):
            found.append("a rejection that is not believed is noted, and changes nothing else")
        if not shut and (free or _is_credible(policy, before, token, rejected.challenge)):
            found.append("a rejection that can be believed is believed")
        return
    if shut:
        found.append("a token is dropped only if another can be asked for at once or is on its way")
    if not free:
        _check_belief(policy, before, rejected, after, found)
        if rejected.challenge is Challenge.UNKNOWN and not _has_been_about(policy, before, token):
            found.append("a 401 that names no cause counts only against a token that has been about")
    _check_dropped(policy, before, token, after, found, free=free)


def _is_credible(policy: Policy, state: State, token: AccessToken, challenge: Challenge) -> bool:
    if not _may_be_believed(policy, state, token):
        return False
    return challenge is Challenge.TOKEN or (challenge is Challenge.UNKNOWN and _has_been_about(policy, state, token))


def _may_be_believed(policy: Policy, state: State, token: AccessToken) -> bool:
    """Whether the interval is over; or the token has worked and is not quite new, and the burst is not used up."""
    rejections, quarter = state.rejections, (token.expires_at - token.started) / 4
    is_new = state.now < token.started + whole(min(policy.rejection_interval / 12, quarter))
    at_once = rejections.worked and not is_new and rejections.believed < policy.rejection_burst
    return state.now >= rejections.allowed_at or at_once


def _heard(policy: Policy, state: State, rejections: Rejections) -> Rejections:
    """The rejections once one more was heard of, from which on it takes ten intervals without any to forgive them."""
    later = state.now + whole(10 * policy.rejection_interval)
    return rejections._replace(forgive_at=later) if rejections.believed else rejections


def _check_use(before: State, worked: TokenWorked, after: State, found: list[str]) -> None:
    """That a token has served a call is noted of the one in hand, and of no other."""
    token, rejections = before.token, before.rejections
    if token is not None and token.authorization == worked.authorization:
        rejections = rejections._replace(worked=True)
        if rejections.believed and before.now >= rejections.forgive_at:
            rejections = rejections._replace(believed=0, forgive_at=LONG_AGO)
    if after.rejections[:3] != rejections[:3]:
        found.append(_FORGIVEN)
    elif after != before._replace(rejections=rejections):
        found.append("that a token has worked is noted of the one in hand, and changes nothing else")


def _has_been_about(policy: Policy, state: State, token: AccessToken) -> bool:
    quarter = (token.expires_at - token.started) / 4
    return state.now >= token.started + whole(min(policy.rejection_interval, quarter))


def _check_belief(policy: Policy, before: State, rejected: TokenRejected, after: State, found: list[str]) -> None:
    now, was, is_now, token = before.now, before.rejections, after.rejections, before.token
    times = max(0, more(was.believed) - policy.rejection_burst)
    pause = whole(doubled(policy.rejection_interval, policy.rejection_interval_cap, times))
    too_soon = token is None or not _may_be_believed(policy, before, token)
    if too_soon or is_now.allowed_at != now + pause or is_now.believed != more(was.believed):
        found.append(
            "rejections are believed at most once in each rejection_interval, which doubles beyond the burst, or at"
            " once within the burst of a token that has worked"
        )
    if rejected.challenge not in (Challenge.TOKEN, Challenge.UNKNOWN):
        found.append("only a 401 speaks of the token")


def _check_dropped(
    policy: Policy, before: State, token: AccessToken, after: State, found: list[str], *, free: bool
) -> None:
    was, is_now = before.rejections, after.rejections
    shunned_until = before.now + whole(policy.rejection_interval)
    *others, last = is_now.dropped or (None,)
    if (
        is_now.worked
        or tuple(others) != was.dropped
        or last is None
        or last != (digest(token.value), shunned_until, max(shunned_until, token.expires_at))
    ):
        found.append("a dropped token is remembered, and not taken again before rejection_interval has passed")
    if free and (is_now.believed, is_now.allowed_at) != (was.believed, was.allowed_at):
        found.append("a token that was due for renewal is dropped without charging the interval")
    if is_now.forgive_at != _heard(policy, before, is_now).forgive_at:
        found.append(_FORGIVEN)
    check_problem(after, ProblemKind.REJECTED, found)
    if after != before._replace(token=None, rejections=is_now, problem=after.problem):
        found.append("a rejection takes the token, and changes nothing else")


def _check_report(policy: Policy, before: State, closed: BlockReported, after: State, found: list[str]) -> None:
    """A report blocks for as long as it says, or for our own wait; it doubles nothing while its block stands."""
    now, kind = before.now, closed.kind
    if closed.seconds is None:
        wait = block_wait(policy, before, kind, None, closed.draw)
    else:
        cap = policy.locked_wait_cap if kind is _LOCKED else policy.rate_limited_wait_cap
        cap = policy.refused_wait_cap if kind is _REFUSED else cap
        wait = stated(policy, closed.seconds, cap, closed.draw)
    old = blocked_until(before, kind)
    pause = min(wait, max(TICK, whole(6 * policy.store_wait * (0.5 + 0.4 * closed.draw)))) if closed.tiers else wait
    was, is_now = before.block(kind), after.block(kind)
    looked = LONG_AGO if was is None else was.look_at
    if is_now is not None and is_now.look_at != max(looked, now + pause if wait > 0 else looked):
        found.append("a reported block is looked at in a store within a minute, and else not before it ends")
    if blocked_until(after, kind) != max(old, now + wait if wait > 0 else old):
        found.append(f"a reported block stands as long as was said, or our own wait: {kind.value}")
    times = times_of(before, kind) if closed.seconds is not None else counted(before, kind)
    if times_of(after, kind) != times:
        found.append("each wait of ours doubles when a block is found again, and not while it stands")
    _check_news(before, kind, now, after, found, heard=wait > 0)
    if blocks_but(after, kind) != blocks_but(before, kind):
        found.append("a block ends early only by a grant, new credentials or lift_block")
    expected = before._replace(blocks=after.blocks, problem=after.problem)
    if after != expected:
        found.append("a report of a block leaves token, attempt, back-off, budget and credentials alone")


def _check_news(before: State, kind: BlockKind, now: float, after: State, found: list[str], *, heard: bool) -> None:
    """Check what is known and told of the reported block. A report that it is over (not ``heard``) is no news."""
    latest = news_of(before, kind)
    if heard and (latest is None or latest.found < now + TICK):
        check_problem(after, _REPORTED[kind], found)
        latest = News(now + TICK, after.problem)
    else:
        check_problem(after, latest.problem if heard and latest is not None else before.problem, found)
    if news_of(after, kind) != latest:
        found.append(KNOWN)


def _check_lift(policy: Policy, before: State, after: State, found: list[str]) -> None:
    old = before.backoff
    own = retry_wait(policy, old.failures, old.malformed, 1.0) if old.failures else 0.0
    if after.backoff != old._replace(retry_at=min(old.retry_at, before.now + own)):
        found.append("lifting ends a stated wait, leaves at most our own back-off, and forgets no failure")
    blocks = lifted(before, tuple(BlockKind))
    problem = before.problem if blocks == before.blocks else None
    if after != before._replace(blocks=blocks, backoff=after.backoff, problem=problem):
        found.append("lifting ends every block, and changes nothing else")


def _check_rotation(before: State, replaced: CredentialsReplaced, after: State, found: list[str]) -> None:
    """New credentials lift refused and unclear blocks three times between grants, a lock once, and no other."""
    credentials = before.credentials
    kinds = (_REFUSED, _UNCLEAR) if credentials.refusals_lifted < 3 else ()
    lifts = int(any(stands(before, kind) for kind in kinds))
    if not credentials.lock_lifted:
        kinds = (*kinds, _LOCKED)
    if after.blocks != lifted(before, kinds):
        found.append(
            "new credentials lift refused and unclear blocks at most three times between grants, a lock once, and no"
            " other"
        )
    spent = credentials.lock_lifted or stands(before, _LOCKED)
    if after.credentials != (credentials.generation + 1, False, spent, credentials.refusals_lifted + lifts):
        found.append("new credentials are a generation of their own")
    check_problem(after, before.problem if after.blocks == before.blocks else None, found)
    attempt = before.attempt
    if attempt is not None and attempt.id == replaced.attempt:
        attempt = attempt._replace(generation=credentials.generation + 1)
    if after != before._replace(
        attempt=attempt, blocks=after.blocks, credentials=after.credentials, problem=after.problem
    ):
        found.append("new credentials change nothing but blocks, and the attempt that asked for them")
