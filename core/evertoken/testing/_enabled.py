"""Everything that may happen next, as values: the closed alphabet from which an explorer or a simulator draws."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

from evertoken._challenge import Challenge
from evertoken._grammar import (
    AnswerReceived,
    BlockLifted,
    BlockReported,
    CredentialsReplaced,
    Input,
    RequestClaimed,
    SendRequest,
    TokenRejected,
    TokenWorked,
)
from evertoken._http import Seen
from evertoken._look import decide
from evertoken._policy import Policy
from evertoken._problems import Problem, ProblemKind
from evertoken._states import Attempt, BlockKind, State
from evertoken._step import digest, settle
from evertoken.outcomes import Abandoned, Blocked, Failed, Granted, Malformed, Outcome, Postponed

EVERY_ANSWER: tuple[Outcome, ...] = (
    Failed(Problem(ProblemKind.SERVER, "The server cannot serve now")),
    Failed(Problem(ProblemKind.SERVER, "The server cannot serve now"), retry_after=3.0),
    Failed(Problem(ProblemKind.SERVER, "The server cannot serve now, and names a refusal"), lasting=True),
    Malformed(Problem(ProblemKind.MALFORMED, "A 200 that is not a token answer")),
    Blocked(BlockKind.REFUSED, Problem(ProblemKind.CREDENTIALS_REFUSED, "The credentials were refused")),
    Blocked(BlockKind.REFUSED, Problem(ProblemKind.REQUEST_REFUSED, "The request was refused")),
    Blocked(BlockKind.UNCLEAR, Problem(ProblemKind.UNCLEAR, "A redirect")),
    Blocked(BlockKind.LOCKED, Problem(ProblemKind.LOCKED, "Locked out")),
    Blocked(BlockKind.RATE_LIMITED, Problem(ProblemKind.RATE_LIMITED, "Too many requests")),
    Blocked(BlockKind.RATE_LIMITED, Problem(ProblemKind.RATE_LIMITED, "Too many requests"), retry_after=3.0),
    Abandoned(),
)
"""One of each outcome that an attempt can have at the endpoint, apart from grants."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alphabet:
    """What may happen, as data. Each field is a set of choices; an empty one means that it does not happen.

    The default is everything but shared stores and secrets that are asked for. With fewer choices, an exploration of as
    many states reaches deeper.
    """

    lifetimes: tuple[float | None, ...] = (8.0,)
    """``expires_in`` of new tokens."""
    answers: tuple[Outcome, ...] = EVERY_ANSWER
    """The outcomes of attempts besides grants, in time or late."""
    repeats: bool = True
    """Whether the endpoint may issue a token again: the one in hand, or one that was dropped."""
    draws: tuple[float, ...] = (0.0,)
    """The ``draw`` of claims and of reported blocks."""
    demands: tuple[float, ...] = (0.0,)
    """The ``min_ttl`` of the callers."""
    challenges: tuple[Challenge, ...] = (Challenge.TOKEN, Challenge.UNKNOWN)
    """The evidence with which APIs reject the token in hand. With any, they serve calls with it as well."""
    reports: tuple[tuple[BlockKind, float | None], ...] = ((BlockKind.LOCKED, None),)
    """The reports of blocks, with their seconds."""
    rotates: bool = True
    """Whether the credentials are replaced."""
    lifts: bool = True
    """Whether the operator lifts blocks."""
    shared: bool = False
    """Whether attempts go by a shared store, which passes on what the endpoint answers or answers by itself."""
    asks: bool = False
    """Whether each attempt asks for the client's secret first, and may find another, or none."""


_EVERYTHING = Alphabet()
_POSTPONED = Problem(ProblemKind.POSTPONED, "Another process is asking")
_NO_SECRET = Failed(Problem(ProblemKind.SECRET, "The vault does not answer"), unsent=True)
_NAMES = tuple(f"token#{number}" for number in range(1, 65))


@functools.cache
def _digest(name: str) -> str:
    return digest(name)


def enabled_inputs(policy: Policy, state: State, now: float, alphabet: Alphabet = _EVERYTHING) -> Iterator[Input]:
    """Every input of ``alphabet`` that the grammar allows at ``now``, in an order that depends on nothing else.

    ``state`` is what :attr:`TokenMachine.state_value` gives. Hand an input to ``functional.step``, or do it to a
    machine with ``functional.feed``. New tokens are named ``token#1`` and so on; the lowest name that the state does
    not know is the next one, which keeps states alike that differ in names only.
    """
    state = settle(policy, state, now)
    now = state.now
    yield from _claims(state, alphabet)
    for attempt in (state.attempt, state.lost):
        if attempt is not None:
            yield from _outcomes(state, attempt, alphabet)
    if state.token is not None:
        for challenge in alphabet.challenges:
            yield TokenRejected(now, state.token.authorization, challenge)
        if alphabet.challenges and not state.rejections.worked:
            yield TokenWorked(now, state.token.authorization)
    for kind, seconds in alphabet.reports:
        for draw in alphabet.draws:
            yield BlockReported(now, kind, seconds, draw, int(alphabet.shared))
    if alphabet.rotates:
        asking = [attempt.id for attempt in (state.attempt,) if attempt is not None and attempt.asks]
        yield from (CredentialsReplaced(now, number) for number in (0, *asking))
    if alphabet.lifts and (state.standing or state.backoff.retry_at > now):
        yield BlockLifted(now)


def _claims(state: State, alphabet: Alphabet) -> Iterator[Input]:
    for min_ttl in alphabet.demands:
        if isinstance(decide(state, min_ttl), SendRequest):
            for draw in alphabet.draws:
                yield RequestClaimed(state.now, draw, min_ttl, int(alphabet.shared), alphabet.asks)


def _outcomes(state: State, attempt: Attempt, alphabet: Alphabet) -> Iterator[Input]:
    now, number = state.now, attempt.id
    for lifetime in alphabet.lifetimes:
        yield AnswerReceived(now, number, Granted(_fresh_name(state), lifetime))
    if alphabet.repeats:
        for name in _known_names(state):
            yield AnswerReceived(now, number, Granted(name, alphabet.lifetimes[0]))
    for answer in alphabet.answers:
        yield AnswerReceived(now, number, answer)
    if attempt.asks:
        yield AnswerReceived(now, number, _NO_SECRET)
        yield AnswerReceived(now, number, Postponed(now + 4.0, _POSTPONED))
    if alphabet.shared:
        yield from _shared_outcomes(state, attempt, alphabet)


def _shared_outcomes(state: State, attempt: Attempt, alphabet: Alphabet) -> Iterator[Input]:
    """The outcomes that only a shared store brings: answers to other processes, and answers with its own moments."""
    now, number = state.now, attempt.id
    earlier = min(now, attempt.deadline) - 1
    for seconds in (1.0, 4.0):
        yield AnswerReceived(now, number, Postponed(now + seconds, _POSTPONED))
    for lifetime in alphabet.lifetimes:
        granted = Granted(_fresh_name(state), lifetime)
        for seen in (Seen(earlier, asked=False), Seen(attempt.started, store_down=True)):
            yield AnswerReceived(now, number, granted, seen)
    for name in _known_names(state):
        yield AnswerReceived(
            now, number, Granted(name, alphabet.lifetimes[0]), Seen(earlier, asked=False, look_at=now + 1)
        )
    for answer in (answer for answer in alphabet.answers if isinstance(answer, Blocked | Failed)):
        ends = now + 3 if isinstance(answer, Blocked) else None
        yield AnswerReceived(now, number, answer, Seen(attempt.started, store_down=True))
        yield AnswerReceived(now, number, answer, Seen(attempt.started, look_at=now + 1, ends=ends))
        yield AnswerReceived(now, number, answer, Seen(earlier, asked=False, look_at=now + 2, ends=ends))


def _known_names(state: State) -> list[str]:
    held = [] if state.token is None else [state.token.value]
    dropped = {entry.digest for entry in state.rejections.dropped}
    return held + ([name for name in _NAMES if _digest(name) in dropped and name not in held] if dropped else [])


def _fresh_name(state: State) -> str:
    known = _known_names(state)
    return next(name for name in _NAMES if name not in known)
