"""The laws about what a step tells: that it is what the step did, each thing once."""

from __future__ import annotations

from evertoken._grammar import AnswerReceived, Input, Rejection, RequestClaimed, TokenRejected
from evertoken._states import State
from evertoken.happenings import (
    EndpointBlocked,
    EndpointUnblocked,
    Happening,
    RejectionJudged,
    RequestEnded,
    RequestStarted,
)
from evertoken.outcomes import Failed, Granted, Malformed, Postponed


def check_told(earlier: State, before: State, happened: Input, after: State, told: tuple[Happening, ...]) -> list[str]:
    """The laws that are broken if ``told`` came of a step; ``before`` is ``earlier``, settled at the step."""
    found: list[str] = []
    started, ended, changed = _by_kind(told)
    lost = [] if earlier.attempt is None or before.attempt is not None else [earlier.attempt.id]
    if ended != ([*lost, happened.id] if isinstance(happened, AnswerReceived) else lost):
        found.append("the end of a request is told once: when it is lost, and when it is answered")
    if started != ([before.next_id] if isinstance(happened, RequestClaimed) else []):
        found.append("the start of a request is told, and of nothing else")
    if isinstance(happened, AnswerReceived):
        _check_outcome(before, happened, after, told[-1], found)
    if isinstance(happened, TokenRejected):
        dropped = RejectionJudged(Rejection.DROPPED) in told
        if dropped != (before.token is not None and after.token is None):
            found.append("a verdict says whether the token was dropped")
    if changed or earlier.blocks or after.blocks:
        _check_blocks(earlier, before, after, changed, found)
    return found


_Changed = EndpointBlocked | EndpointUnblocked


def _by_kind(told: tuple[Happening, ...]) -> tuple[list[int], list[int], list[_Changed]]:
    """The requests that started, those that ended, and what changed about blocks."""
    started: list[int] = []
    ended: list[int] = []
    changed: list[_Changed] = []
    for thing in told:
        if isinstance(thing, RequestEnded):
            ended.append(thing.id)
        elif isinstance(thing, RequestStarted):
            started.append(thing.id)
        elif isinstance(thing, _Changed):
            changed.append(thing)
    return started, ended, changed


def _check_outcome(before: State, received: AnswerReceived, after: State, last: Happening, found: list[str]) -> None:
    outcome = last.outcome if isinstance(last, RequestEnded) else None
    if isinstance(outcome, Granted) != (after.token != before.token and not isinstance(outcome, Postponed)):
        found.append("an outcome says whether a token was taken")
    if isinstance(outcome, Failed | Malformed):
        in_time = before.attempt is not None and before.attempt.id == received.id
        if not in_time or after.problem != outcome.problem:
            found.append("a failure is told when it is counted, with the problem that is told from then on")


def _check_blocks(earlier: State, before: State, after: State, told: list[_Changed], found: list[str]) -> None:
    stood = [block.kind for block in before.standing]
    if after.blocks is before.blocks:
        ended, begun = [], []
    else:
        standing = after.standing
        stands = [block.kind for block in standing]
        ended = [kind for kind in stood if kind not in stands]
        begun = [(block.kind, block.until, block.problem) for block in standing if block.kind not in stood]
    if earlier is not before:
        ended = [*[block.kind for block in earlier.standing if block.kind not in stood], *ended]
    told_begun = [(thing.kind, thing.until, thing.problem) for thing in told if isinstance(thing, EndpointBlocked)]
    if told_begun != begun or [thing.kind for thing in told if isinstance(thing, EndpointUnblocked)] != ended:
        found.append("a block is told when it begins and when it ends, and not in between")
