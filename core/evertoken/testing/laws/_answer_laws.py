"""The laws about answers: what each makes of the token, the back-off, the blocks and the counts, and what it leaves."""

from __future__ import annotations

import math
from typing import NamedTuple, cast

from evertoken._grammar import AnswerReceived, SendRequest
from evertoken._http import Seen
from evertoken._look import decide
from evertoken._policy import TICK, Policy
from evertoken._problems import Problem, ProblemKind
from evertoken._schedule import give_back, longest_wait, retuned
from evertoken._shared_problems import ASKED_ELSEWHERE
from evertoken._states import LONG_AGO, AccessToken, Attempt, Block, BlockKind, State
from evertoken._step import digest
from evertoken.outcomes import Blocked, Failed, Granted, Malformed, Outcome, Postponed
from evertoken.testing.laws._expected import (
    KNOWN,
    Meaning,
    News,
    block_wait,
    blocked_until,
    blocks_but,
    counted,
    expected_token,
    is_shunned,
    is_unasked,
    latest_news,
    lifted,
    meaning_of,
    more,
    news_of,
    retry_wait,
    soon,
    stated,
    times_of,
    whole,
)
from evertoken.testing.laws._state_laws import check_problem

# Bound once: before Python 3.12, reading an enum member through its class is slow, and this runs after every step.
_TAKEN, _FAILED, _MALFORMED, _ABANDONED, _BLOCK, _POSTPONED, _STALE, _OVERTAKEN = Meaning
_LOST = ProblemKind.LOST
_DEAD, _REISSUED = ProblemKind.DEAD_ON_ARRIVAL, ProblemKind.REISSUED

_ONE_ID = "an id is given out by a claim, and by nothing else"
_EARLY = "a block ends early only by a grant, new credentials or lift_block"
_RETUNED = "the budget is retuned to the granted lifetime, and never refunded"


class _Case(NamedTuple):
    """One answer to an attempt that is remembered. ``before`` is settled; ``found`` takes what is broken."""

    policy: Policy
    before: State
    attempt: Attempt
    answer: Outcome
    seen: Seen | None
    late: bool
    looked_at: float
    after: State
    found: list[str]

    @property
    def gives_back(self) -> bool:
        """Whether nothing was sent to the endpoint, so that the charge is given back."""
        unsent = isinstance(self.answer, Failed) and self.answer.unsent
        return not self.late and (unsent or isinstance(self.answer, Postponed) or is_unasked(self.seen))


def check_answer(policy: Policy, before: State, received: AnswerReceived, after: State, found: list[str]) -> None:
    """Add the laws that the step through ``received`` breaks; ``before`` is settled."""
    attempt, late = _attempt(before, received.id)
    if attempt is None:
        if after != before:
            found.append("an answer to an attempt that is not remembered changes nothing")
        return
    if after.attempt != (before.attempt if late else None) or after.lost != (None if late else before.lost):
        found.append("each attempt is consumed by its first outcome, and no other is")
    if after.next_id != before.next_id:
        found.append(_ONE_ID)
    seen, looked_at = received.seen, attempt.started
    if seen is not None:
        attempt = attempt._replace(started=min(whole(seen.asked_at), before.now))
    case = _Case(policy, before, attempt, received.answer, seen, late, looked_at, after, found)
    meaning = meaning_of(policy, before, attempt, received.answer, seen)
    if meaning is _TAKEN:
        _check_grant(case, expected_token(policy, before, attempt, cast("Granted", received.answer)))
    else:
        _check_trouble(case, meaning)
    if case.gives_back and meaning is not _STALE and isinstance(decide(after), SendRequest):
        found.append("what was not asked leaves a new token or a moment ahead, and never a loop")


def _attempt(state: State, number: int) -> tuple[Attempt | None, bool]:
    """The attempt that an answer is about, and whether it is the lost one; None for one that is not remembered."""
    attempt, lost = state.attempt, state.lost
    if attempt is not None and attempt.id == number:
        return attempt, False
    return (lost, True) if lost is not None and lost.id == number else (None, False)


# A grant
# -------


def _check_grant(case: _Case, expected: AccessToken) -> None:
    policy, before, attempt, _, seen, _, _, after, found = case
    token, held, credentials = after.token, before.token, before.credentials
    if token is None or (token.value, token.authorization) != (expected.value, expected.authorization):
        found.append("a token that is fresh, newer and not shunned is taken, late or not")
        return
    if token != expected:
        _check_moments(token, expected, found)
    repeated = held is not None and held.value == expected.value
    repeats = before.backoff.repeats if is_unasked(seen) else more(before.backoff.repeats)
    _check_after_token(before, attempt.started, after, found, repeats=repeats if repeated else 0)
    budget = retuned(policy, before.budget, before.now, expected.expires_at - expected.started)
    if after.budget != (give_back(policy, budget, before.now) if case.gives_back else budget):
        found.append(_RETUNED)
    proven = credentials.proven or (attempt.generation == credentials.generation and not is_unasked(seen))
    if after.credentials != (credentials.generation, proven, False, 0):
        found.append("a grant vouches for the credentials that it was asked for with, and for no other")


def _check_moments(token: AccessToken, expected: AccessToken, found: list[str]) -> None:
    if token.started != expected.started or token.expires_at != expected.expires_at:
        found.append("a token's life counts from the start of its request, and is capped")
    if token.fresh_until != expected.fresh_until:
        found.append("a token is handed out until the leeway, or its share of the lifetime, before its expiry")
    if token.refresh_at != expected.refresh_at:
        found.append(
            "the next token is due refresh_before and the drawn jitter before the expiry, not before half of what was"
            " left at receipt, and a repeated one not before a back-off"
        )
    if token.scope != expected.scope:
        found.append("a token has the scope that the server says")


def _check_after_token(before: State, started: float, after: State, found: list[str], *, repeats: int) -> None:
    """Check that a token ends the trouble that was learnt no later than it was asked for, and no other."""
    old, new = before.backoff, after.backoff
    check_problem(after, None if old.found <= started else before.problem, found)
    if old.found <= started:
        if new != (0, 0, repeats, LONG_AGO, LONG_AGO):
            found.append("a grant ends the back-off that was learnt before it was asked for")
    elif new != old._replace(repeats=repeats):
        found.append("a grant leaves a back-off alone that was learnt after it was asked for")
    blocks = before.blocks
    if blocks:
        blocks = tuple([block for block in blocks if block.found > started])
    if after.blocks != blocks:
        found.append("a grant clears exactly the blocks that were found before it was asked for")
    if after.granted_at != max(before.granted_at, started):
        found.append("granted_at is the start of the newest attempt that was granted")
    was = before.rejections
    dropped = was.dropped
    if dropped and after.token is not None:
        name = digest(after.token.value)
        dropped = tuple(entry for entry in dropped if entry.digest != name)
    repeated = before.token is not None and after.token is not None and before.token.value == after.token.value
    if after.rejections != was._replace(worked=was.worked and repeated, dropped=dropped):
        found.append("a grant forgets no rejection of another token")


# Anything else
# -------------


def _check_trouble(case: _Case, meaning: Meaning) -> None:
    policy, before, _, _, seen, _, _, after, found = case
    if meaning is not _POSTPONED and after.token is not before.token and after.token != before.token:
        _check_token_not_due(case)
    if after.budget != (give_back(policy, before.budget, before.now) if case.gives_back else before.budget):
        found.append("the budget is refunded for what was not sent, once, and for nothing else")
    if meaning is _BLOCK and seen is not None and seen.ends is not None:
        _check_block_as_told(case, seen, seen.ends)
    elif meaning is _BLOCK:
        _check_block(case)
    elif meaning is _POSTPONED:
        _check_postponed(case)
    else:
        _check_other_blocks(case, meaning)
        if after.credentials != before.credentials:
            found.append("only a block, a grant or new credentials change what is known of the credentials")
        _check_back_off(case, meaning)
        check_problem(after, _problem_after(case, meaning), found)
    if after.rejections != before.rejections or after.granted_at != before.granted_at:
        found.append("trouble with an attempt changes nothing about rejections and grants")


def _check_postponed(case: _Case) -> None:
    """Check that nothing is counted, and that the next look comes when it was said.

    A token that is good until then becomes due at that moment; without such a token there is a wait until then.
    """
    policy, before, attempt, answer, seen, _, _, after, found = case
    now, held, old = before.now, before.token, before.backoff
    if isinstance(answer, Postponed):
        until, problem = whole(answer.until), answer.problem
    else:
        drawn = now + whole(policy.store_wait * (0.1 + 0.4 * attempt.draw))
        until = whole(drawn if seen is None or seen.look_at is None else seen.look_at)
        problem = ASKED_ELSEWHERE
    if held is not None and now < until <= held.fresh_until:
        due = held.due_no_earlier_than(until)
        right = after.token == due and after.backoff == old and after.problem == before.problem
    else:
        retry_at = max(old.retry_at, soon(policy, now, until))
        right = after.token == held and after.backoff == old._replace(retry_at=retry_at) and after.problem == problem
    if not right or after.blocks != before.blocks or after.credentials != before.credentials:
        found.append("what was not asked is looked at again when it was said, and counts as no failure")


def _problem_after(case: _Case, meaning: Meaning) -> Problem | ProblemKind | None:
    """What the state tells after trouble that is no block."""
    answer, was = case.answer, case.before.problem
    if isinstance(answer, Granted) and meaning is _FAILED:
        return _REISSUED if is_shunned(case.before, answer.access_token) else _DEAD
    if not isinstance(answer, Failed | Malformed):
        return was
    # A late failure says better than LOST why there was no answer, if nothing else has gone wrong since.
    return was if meaning is _OVERTAKEN and (was is None or was.kind is not _LOST) else answer.problem


def _check_token_not_due(case: _Case) -> None:
    """Say which law is broken by another token, where none was to be taken."""
    before, answer, token = case.before, case.answer, case.after.token
    if token is None:
        case.found.append("only a rejection takes the token away")
    elif not isinstance(answer, Granted):
        case.found.append("only a grant brings a token")
    elif is_shunned(before, answer.access_token):
        case.found.append("a dropped token is not handed out again before rejection_interval has passed")
    elif before.token is not None and case.attempt.started <= before.token.started:
        case.found.append("a token never gives way to one whose request started earlier")
    else:
        case.found.append("no token is taken that was dead on arrival")


def _check_other_blocks(case: _Case, meaning: Meaning) -> None:
    """Check what an answer that is no block has made of the blocks."""
    before, after, found, seen = case.before, case.after, case.found, case.seen
    if seen is not None and seen.look_at is not None and meaning in (_FAILED, _MALFORMED):
        if after.blocks != lifted(before, tuple(BlockKind), case.looked_at):
            found.append("a failure that a store has let happen says that none of the known blocks stands")
        return
    if after.blocks is before.blocks or after.blocks == before.blocks:
        return
    until = {block.kind: block.until for block in after.blocks}
    if any(until.get(block.kind, LONG_AGO) < block.until for block in before.blocks):
        found.append(_EARLY)
    elif meaning is _STALE:
        found.append("a refusal of credentials that have been replaced since changes nothing")
    elif meaning is _OVERTAKEN:
        found.append("late news of a block is not believed once something later was granted")
    else:
        found.append("a failure blocks nothing")


def _check_back_off(case: _Case, meaning: Meaning) -> None:
    policy, before, attempt, answer, seen, _, _, after, found = case
    old, new, now = before.backoff, after.backoff, before.now
    alone = attempt.tiers == 0 or (seen is not None and seen.store_down)
    longest = math.inf if alone else whole(6 * policy.store_wait)
    failures, malformed, retry_at, learnt = old.failures, old.malformed, old.retry_at, old.found
    if meaning is _FAILED or meaning is _MALFORMED:
        failures, malformed = more(failures), more(malformed) if meaning is _MALFORMED else 0
        retry_at = max(retry_at, now + min(longest, retry_wait(policy, failures, malformed, attempt.draw)))
        learnt = max(learnt, attempt.started)
    if isinstance(answer, Failed) and answer.retry_after is not None:  # A stated wait is kept even if it comes late.
        wait = stated(policy, answer.retry_after, policy.rate_limited_wait_cap, attempt.draw)
        retry_at = max(retry_at, now + min(longest, wait))
        learnt = max(learnt, attempt.started)
    if seen is not None and seen.look_at is not None and meaning in (_FAILED, _MALFORMED):
        retry_at = soon(policy, now, seen.look_at)
    if (new.failures, new.malformed, new.repeats) != (failures, malformed, old.repeats):
        found.append("every failure is counted, and nothing else is")
    if new.retry_at < retry_at:
        found.append("a failure is followed by its whole back-off: doubled each time, drawn, and as long as was stated")
    elif new.retry_at > retry_at:
        found.append("a back-off is no longer than failures ask for, and an abandoned attempt asks for none")
    if new.found != learnt:
        found.append("a back-off remembers the start of the latest attempt that failed")


def _check_block_as_told(case: _Case, seen: Seen, ends: float) -> None:
    """Check that what a store knows takes the place of all that we knew, with its moments, and moves no counter.

    Blocks that were reported while the store was looked at are kept beside it.
    """
    policy, before, attempt, answer, _, _, looked_at, after, found = case
    answer, now = cast("Blocked", answer), before.now
    until = max(now + TICK, min(whole(ends), now + longest_wait(policy, answer.kind)))
    moment = min(until, soon(policy, now, until if seen.look_at is None else seen.look_at))
    times = times_of(before, answer.kind)
    block = Block(answer.kind, until, attempt.started, times, answer.problem, moment)
    known = lifted(before, tuple(BlockKind), looked_at)
    others = [other for other in known if other.kind is not answer.kind]
    same = [other for other in known if other.kind is answer.kind and other.until > now]
    for other in same:
        block = block._replace(until=max(block.until, other.until), look_at=max(block.look_at, other.look_at))
        if other.found >= block.found:
            block = block._replace(found=other.found, problem=other.problem)
    if after.block(answer.kind) != block or [other for other in after.blocks if other != block] != others:
        found.append("what a store knows of a block has its own two moments, and replaces every other")
    if after.backoff != before.backoff or after.credentials != before.credentials:
        found.append("what a store knows of a block moves no counter")
    check_problem(after, block.problem, found)


def _check_block(case: _Case) -> None:
    """Check that a block stands for its whole wait, and that the waits that are ours double each time in a row."""
    policy, before, attempt, answer, _, _, _, after, found = case
    answer = cast("Blocked", answer)
    kind = answer.kind
    wait, doubted = _wait(policy, before, attempt, answer)
    until, expected = blocked_until(after, kind), max(blocked_until(before, kind), before.now + wait)
    if until < expected or len(after.blocks) != len(blocks_but(before, kind)) + 1:
        found.append(f"a block stands for its whole wait: {kind.value}")
    elif until > expected:
        found.append(f"a block ends when its wait is over: {kind.value}")
    if blocks_but(after, kind) != blocks_but(before, kind):
        found.append(_EARLY)
    news = latest_news(before, kind, News(attempt.started, answer.problem))
    if news_of(after, kind) != news:
        found.append(KNOWN)
    block, was = after.block(kind), before.block(kind)
    asks = attempt.asks and not attempt.tiers and kind in (BlockKind.REFUSED, BlockKind.UNCLEAR)
    pause = min(wait, whole(6 * policy.store_wait)) if asks else wait
    look_at = max(before.now + pause, LONG_AGO if was is None else was.look_at)
    if block is not None and block.look_at != look_at:
        found.append(
            "no request is started before a block is over that no store knows of; a secret that is refused is asked for"
            " again once a minute"
        )
    check_problem(after, news.problem, found)
    old, new = before.backoff, after.backoff
    failures, malformed, learnt = old.failures, old.malformed, old.found
    if kind is BlockKind.RATE_LIMITED:
        failures, malformed, learnt = more(failures), 0, max(learnt, attempt.started)
    if new != (failures, malformed, old.repeats, old.retry_at, learnt):
        found.append("a rate limit is one failure more, any other block none")
    is_ours = not doubted and (kind is not BlockKind.RATE_LIMITED or answer.retry_after is None)
    if times_of(after, kind) != (counted(before, kind) if is_ours else times_of(before, kind)):
        found.append("each wait of ours doubles when a block is found again, and not while it stands")
    if after.credentials != (before.credentials._replace(proven=False) if doubted else before.credentials):
        found.append("the first refusal of credentials that have worked is doubted, and no second one")


def _wait(policy: Policy, state: State, attempt: Attempt, blocked: Blocked) -> tuple[float, bool]:
    """For how many seconds the endpoint is blocked, and whether it is a refusal that is doubted."""
    kind, draw, seconds = blocked.kind, attempt.draw, blocked.retry_after
    wait = block_wait(policy, state, kind, seconds, draw)
    if kind is BlockKind.RATE_LIMITED:
        return max(wait, retry_wait(policy, more(state.backoff.failures), 0, draw)), False
    is_refusal = kind is BlockKind.REFUSED and blocked.problem.kind is ProblemKind.CREDENTIALS_REFUSED
    if is_refusal and state.credentials.proven:
        return max(whole(policy.doubted_refusal_wait), stated(policy, seconds, policy.refused_wait_cap, draw)), True
    return wait, False
