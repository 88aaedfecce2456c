"""The laws about answers: what each makes of the token, the back-off, the doors and the counts, and what it leaves."""

from __future__ import annotations

from typing import NamedTuple, cast

from evertoken._inputs import AnswerReceived
from evertoken._judge import digest
from evertoken._policy import Policy
from evertoken._problems import Problem, ProblemKind
from evertoken._records import LONG_AGO, AccessToken, Attempt, BlockKind, Doublings
from evertoken._states import State
from evertoken.outcomes import Failed, Granted, Locked, Malformed, Outcome, RateLimited, Refused, Unclear
from evertoken.testing._expected import (
    KNOWN,
    Meaning,
    News,
    closed_until,
    counted,
    door_wait,
    doors_but,
    expected_token,
    is_shunned,
    latest_news,
    meaning_of,
    more,
    news_of,
    retry_wait,
    retuned,
    stated,
    stated_by,
    whole,
)
from evertoken.testing._state_laws import check_problem

__all__ = ("check_answer",)

# Bound once: before Python 3.12, reading an enum member through its class is slow, and this runs after every step.
_TAKEN, _FAILED, _MALFORMED, _ABANDONED, _DOOR, _STALE, _OVERTAKEN = Meaning
_LOST = ProblemKind.LOST
_DEAD, _REISSUED = ProblemKind.DEAD_ON_ARRIVAL, ProblemKind.REISSUED
_Door = Refused | Unclear | Locked | RateLimited

_ONE_ID = "an id is given out by a claim, and by nothing else"
_EARLY = "a closed door opens early only by a grant, new credentials or lift_block"
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
    token, held, keys = after.token, before.token, before.keys
    if token is None or (token.value, token.authorization) != (expected.value, expected.authorization):
        found.append("a token that is fresh, newer and not shunned is taken, late or not")
        return
    if token != expected:
        _check_moments(token, expected, found)
    repeated = held is not None and held.value == expected.value
    _check_after_token(before, attempt.started, after, found, repeats=more(before.backoff.repeats) if repeated else 0)
    if after.budget != retuned(policy, before.budget, before.now, expected.expires_at - expected.started):
        found.append(_RETUNED)
    vouched = keys.vouched or attempt.generation == keys.generation
    if after.keys != (keys.generation, vouched, False, 0):
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
    check_problem(after, None if old.since <= started else before.problem, found)
    if old.since <= started:
        if new != (0, 0, repeats, LONG_AGO, LONG_AGO):
            found.append("a grant ends the back-off that was learnt before it was asked for")
    elif new != old._replace(repeats=repeats):
        found.append("a grant leaves a back-off alone that was learnt after it was asked for")
    blocks = before.blocks
    if blocks:
        blocks = tuple([block for block in blocks if block.since > started])
    if after.blocks != blocks:
        found.append("a grant opens exactly the doors that were known to be closed before it was asked for")
    if after.doublings != (before.doublings if blocks else Doublings()):
        found.append("doublings end when a grant leaves no door closed")
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
    if meaning is _DOOR:
        _check_door(case)
    else:
        if after.blocks is not before.blocks and after.blocks != before.blocks:
            _check_doors_left_alone(case, meaning)
        if after.doublings != before.doublings or after.keys != before.keys:
            found.append("only a closed door, a grant or new credentials change doublings and what vouches for a key")
        _check_back_off(case, meaning)
        check_problem(after, _problem_after(case, meaning), found)
    if after.rejections != before.rejections or after.granted_at != before.granted_at:
        found.append("trouble with an attempt changes nothing about rejections and grants")


def _problem_after(case: _Case, meaning: Meaning) -> Problem | ProblemKind | None:
    """What the state tells after trouble that closes no door."""
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


def _check_doors_left_alone(case: _Case, meaning: Meaning) -> None:
    before, after, found = case.before, case.after, case.found
    until = {block.kind: block.until for block in after.blocks}
    if any(until.get(block.kind, LONG_AGO) < block.until for block in before.blocks):
        found.append(_EARLY)
    elif meaning is _STALE:
        found.append("a refusal of credentials that have been replaced since changes nothing")
    elif meaning is _OVERTAKEN:
        found.append("late news of a closed door is not believed once something later was granted")
    else:
        found.append("a failure closes no door")


def _check_back_off(case: _Case, meaning: Meaning) -> None:
    policy, before, attempt, answer, after, found = case
    old, new, now = before.backoff, after.backoff, before.now
    failures, malformed, retry_at, since = old.failures, old.malformed, old.retry_at, old.since
    if meaning is _FAILED or meaning is _MALFORMED:
        failures, malformed = more(failures), more(malformed) if meaning is _MALFORMED else 0
        retry_at = max(retry_at, now + retry_wait(policy, failures, malformed, attempt.draw))
        since = max(since, attempt.started)
    if isinstance(answer, Failed) and answer.retry_after is not None:  # Kept even if it comes late.
        retry_at = max(retry_at, now + stated(policy, answer.retry_after, policy.rate_limited_wait_cap, attempt.draw))
        since = max(since, attempt.started)
    if (new.failures, new.malformed, new.repeats) != (failures, malformed, old.repeats):
        found.append("every failure is counted, and nothing else is")
    if new.retry_at < retry_at:
        found.append("a failure is followed by its whole back-off: doubled each time, drawn, and as long as was stated")
    elif new.retry_at > retry_at:
        found.append("a back-off is no longer than failures ask for, and an abandoned attempt asks for none")
    if new.since != since:
        found.append("a back-off remembers the start of the latest attempt that failed")


def _check_door(case: _Case) -> None:
    """A closed door is closed for its whole wait; the waits that are ours double each time in a row."""
    policy, before, attempt, answer, after, found = case
    kind, wait, doubted = _kind_and_wait(policy, before, attempt, answer)
    until, expected = closed_until(after, kind), max(closed_until(before, kind), before.now + wait)
    if until < expected or len(after.blocks) != len(doors_but(before, kind)) + 1:
        found.append(f"a closed door stays closed for its whole wait: {kind.value}")
    elif until > expected:
        found.append(f"a closed door opens when its wait is over: {kind.value}")
    if doors_but(after, kind) != doors_but(before, kind):
        found.append(_EARLY)
    news = latest_news(before, kind, News(attempt.started, cast("_Door", answer).problem))
    if news_of(after, kind) != news:
        found.append(KNOWN)
    check_problem(after, news.problem, found)
    old, new = before.backoff, after.backoff
    failures, malformed, since = old.failures, old.malformed, old.since
    if kind is BlockKind.RATE_LIMITED:
        failures, malformed, since = more(failures), 0, max(since, attempt.started)
    if new != (failures, malformed, old.repeats, old.retry_at, since):
        found.append("a rate limit is one failure more, any other closed door none")
    stands = doubted or (kind is BlockKind.RATE_LIMITED and stated_by(answer) is not None)
    if after.doublings != (before.doublings if stands else counted(before, kind)):
        found.append("each wait of ours doubles when its door is found closed again, and not while it is known to be")
    if after.keys != (before.keys._replace(vouched=False) if doubted else before.keys):
        found.append("the first refusal of credentials that have worked is doubted, and no second one")


def _kind_and_wait(policy: Policy, state: State, attempt: Attempt, answer: Outcome) -> tuple[BlockKind, float, bool]:
    """Which door is closed, for how many seconds, and whether that is doubted."""
    draw, seconds = attempt.draw, stated_by(answer)
    if isinstance(answer, RateLimited):
        wait = door_wait(policy, state, BlockKind.RATE_LIMITED, seconds, draw)
        return BlockKind.RATE_LIMITED, max(wait, retry_wait(policy, more(state.backoff.failures), 0, draw)), False
    if isinstance(answer, Refused):
        if answer.of == "credentials" and state.keys.vouched:
            return BlockKind.REFUSED, whole(policy.doubted_refusal_wait), True
        return BlockKind.REFUSED, door_wait(policy, state, BlockKind.REFUSED, None, draw), False
    kind = BlockKind.LOCKED if isinstance(answer, Locked) else BlockKind.UNCLEAR
    return kind, door_wait(policy, state, kind, seconds, draw), False
