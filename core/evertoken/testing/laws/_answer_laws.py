"""The laws about answers: what each makes of the token, the back-off, the blocks and the counts, and what it leaves."""

from __future__ import annotations

from typing import NamedTuple, cast

from evertoken._grammar import AnswerReceived
from evertoken._policy import Policy
from evertoken._problems import Problem, ProblemKind
from evertoken._schedule import retuned
from evertoken._states import LONG_AGO, AccessToken, Attempt, BlockKind, State
from evertoken._step import digest
from evertoken.outcomes import Blocked, Failed, Granted, Malformed, Outcome
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
    latest_news,
    meaning_of,
    more,
    news_of,
    retry_wait,
    stated,
    times_of,
    whole,
)
from evertoken.testing.laws._state_laws import check_problem

__all__ = ("check_answer",)

# Bound once: before Python 3.12, reading an enum member through its class is slow, and this runs after every step.
_TAKEN, _FAILED, _MALFORMED, _ABANDONED, _BLOCK, _STALE, _OVERTAKEN = Meaning
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
    after: State
    found: list[str]


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
    case = _Case(policy, before, attempt, received.answer, after, found)
    meaning = meaning_of(policy, before, attempt, received.answer)
    if meaning is _TAKEN:
        _check_grant(case, expected_token(policy, before, attempt, cast("Granted", received.answer)))
    else:
        _check_trouble(case, meaning)


def _attempt(state: State, number: int) -> tuple[Attempt | None, bool]:
    """The attempt that an answer is about, and whether it is the lost one; None for one that is not remembered."""
    attempt, lost = state.attempt, state.lost
    if attempt is not None and attempt.id == number:
        return attempt, False
    return (lost, True) if lost is not None and lost.id == number else (None, False)


# A grant
# -------


def _check_grant(case: _Case, expected: AccessToken) -> None:
    policy, before, attempt, _, after, found = case
    token, held, credentials = after.token, before.token, before.credentials
    if token is None or (token.value, token.authorization) != (expected.value, expected.authorization):
        found.append("a token that is fresh, newer and not shunned is taken, late or not")
        return
    if token != expected:
        _check_moments(token, expected, found)
    repeated = held is not None and held.value == expected.value
    _check_after_token(before, attempt.started, after, found, repeats=more(before.backoff.repeats) if repeated else 0)
    if after.budget != retuned(policy, before.budget, before.now, expected.expires_at - expected.started):
        found.append(_RETUNED)
    proven = credentials.proven or attempt.generation == credentials.generation
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
    """What a token opens and ends: all that was learnt no later than it was asked for, and nothing else."""
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
    _, before, _, _, after, found = case
    if after.token is not before.token and after.token != before.token:
        _check_token_not_due(case)
    if after.budget != before.budget:
        found.append("the budget is never refunded")
    if meaning is _BLOCK:
        _check_block(case)
    else:
        if after.blocks is not before.blocks and after.blocks != before.blocks:
            _check_blocks_left_alone(case, meaning)
        if after.credentials != before.credentials:
            found.append("only a block, a grant or new credentials change what is known of the credentials")
        _check_back_off(case, meaning)
        check_problem(after, _problem_after(case, meaning), found)
    if after.rejections != before.rejections or after.granted_at != before.granted_at:
        found.append("trouble with an attempt changes nothing about rejections and grants")


def _problem_after(case: _Case, meaning: Meaning) -> Problem | ProblemKind | None:
    """What the state tells after trouble that is no block."""
    answer, was = case.answer, case.before.problem
    if isinstance(answer, Granted) and meaning is _FAILED:
        return _REISSUED if is_shunned(case.before, answer.access_token) else _DEAD
    if not isinstance(answer, Failed | Malformed):
        return was
    # A late one says better why there was no answer, if nothing else has gone wrong since.
    return was if meaning is _OVERTAKEN and (was is None or was.kind is not _LOST) else answer.problem


def _check_token_not_due(case: _Case) -> None:
    """Another token, where none was to be taken."""
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


def _check_blocks_left_alone(case: _Case, meaning: Meaning) -> None:
    before, after, found = case.before, case.after, case.found
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
    policy, before, attempt, answer, after, found = case
    old, new, now = before.backoff, after.backoff, before.now
    failures, malformed, retry_at, learnt = old.failures, old.malformed, old.retry_at, old.found
    if meaning is _FAILED or meaning is _MALFORMED:
        failures, malformed = more(failures), more(malformed) if meaning is _MALFORMED else 0
        retry_at = max(retry_at, now + retry_wait(policy, failures, malformed, attempt.draw))
        learnt = max(learnt, attempt.started)
    if isinstance(answer, Failed) and answer.retry_after is not None:  # Kept even if it comes late.
        retry_at = max(retry_at, now + stated(policy, answer.retry_after, policy.rate_limited_wait_cap, attempt.draw))
        learnt = max(learnt, attempt.started)
    if (new.failures, new.malformed, new.repeats) != (failures, malformed, old.repeats):
        found.append("every failure is counted, and nothing else is")
    if new.retry_at < retry_at:
        found.append("a failure is followed by its whole back-off: doubled each time, drawn, and as long as was stated")
    elif new.retry_at > retry_at:
        found.append("a back-off is no longer than failures ask for, and an abandoned attempt asks for none")
    if new.found != learnt:
        found.append("a back-off remembers the start of the latest attempt that failed")


def _check_block(case: _Case) -> None:
    """A block stands for its whole wait; the waits that are ours double each time in a row."""
    policy, before, attempt, answer, after, found = case
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
    """For how many seconds the endpoint is blocked, and whether that is doubted."""
    kind, draw, seconds = blocked.kind, attempt.draw, blocked.retry_after
    wait = block_wait(policy, state, kind, seconds, draw)
    if kind is BlockKind.RATE_LIMITED:
        return max(wait, retry_wait(policy, more(state.backoff.failures), 0, draw)), False
    is_refusal = kind is BlockKind.REFUSED and blocked.problem.kind is ProblemKind.CREDENTIALS_REFUSED
    if is_refusal and state.credentials.proven:
        return max(whole(policy.doubted_refusal_wait), stated(policy, seconds, policy.refused_wait_cap, draw)), True
    return wait, False
