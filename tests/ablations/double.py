"""How a double is made: the real machine with one safeguard switched off, for as long as a patch lasts."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import pytest

from evertoken import AccessToken, BlockKind, Policy, Rejection, State, _look, _step
from evertoken._grammar import AnswerReceived, Input, SendRequest, Wait
from evertoken._secrecy import replace
from evertoken._states import Attempt
from evertoken.happenings import Happening, RejectionJudged
from evertoken.outcomes import Blocked, Outcome

__all__ = (
    "DOUBLES",
    "Double",
    "answers",
    "everywhere",
    "polls",
    "replace_step",
    "steps",
    "tokens",
    "verdict",
    "whole_machine",
)

Step = Callable[[Policy, State, Input], State]
Decide = Callable[[State, float], SendRequest | Wait]
Function = TypeVar("Function", bound=Callable[..., object])

_step_and_tell = _step.step
decide = _look.decide


def step(policy: Policy, state: State, happened: Input) -> State:
    """The real step, without its happenings. Doubles call it with other arguments, or change the state it returns."""
    return _step_and_tell(policy, state, happened)[0]


def verdict(policy: Policy, state: State, happened: Input) -> Rejection | None:
    """The verdict of the real step on a rejection; None if ``happened`` is no rejection."""
    *_, last = (None, *_step_and_tell(policy, state, happened)[1])
    return last.verdict if isinstance(last, RejectionJudged) else None


class Double(NamedTuple):
    """A machine without one safeguard. ``does`` is what the table says that it does instead."""

    name: str
    safeguard: str
    does: str
    install: Callable[[pytest.MonkeyPatch], None]


DOUBLES: dict[str, Double] = {}
"""All doubles by name, in the order of the table."""


def everywhere(patch: pytest.MonkeyPatch, real: object, double: object) -> None:
    """Put ``double`` in the place of ``real`` in each module of evertoken that knows it by whatever name."""
    for name, module in list(sys.modules.items()):
        if name.startswith("evertoken"):
            for attribute, value in list(vars(module).items()):
                if value is real:
                    patch.setattr(module, attribute, double)


def replace_step(patch: pytest.MonkeyPatch, double: Step) -> None:
    """Let every machine make its steps with ``double``; what it tells its caller stays the real outcome."""

    def stepped(policy: Policy, state: State, happened: Input) -> tuple[State, tuple[Happening, ...]]:
        return double(policy, state, happened), _step_and_tell(policy, state, happened)[1]

    everywhere(patch, _step_and_tell, stepped)


def whole_machine(safeguard: str) -> Callable[[Callable[[pytest.MonkeyPatch], None]], Double]:
    """Makes a double of a function that installs it. The docstring of that function says what the double does."""

    def made(install: Callable[[pytest.MonkeyPatch], None]) -> Double:
        return _noted(safeguard, install, install)

    return made


def steps(safeguard: str) -> Callable[[Step], Double]:
    """Makes a double of a function that takes the place of ``step``."""

    def made(double: Step) -> Double:
        return _noted(safeguard, double, lambda patch: replace_step(patch, double))

    return made


def polls(safeguard: str) -> Callable[[Decide], Double]:
    """Makes a double of a function that takes the place of ``decide``, which is what poll answers."""

    def made(double: Decide) -> Double:
        def defaulted(state: State, min_ttl: float = 0.0) -> SendRequest | Wait:
            return double(state, min_ttl)

        return _noted(safeguard, double, lambda patch: everywhere(patch, decide, defaulted))

    return made


def answers(
    safeguard: str, *kinds: type[Outcome] | BlockKind
) -> Callable[[Callable[[State, Attempt, AnswerReceived], State]], Double]:
    """Makes a double of a function that says which state the machine sees instead of its own.

    It does so when an answer of one of ``kinds`` comes to an attempt that the machine remembers.
    """

    def made(seen: Callable[[State, Attempt, AnswerReceived], State]) -> Double:
        def double(policy: Policy, state: State, happened: Input) -> State:
            attempt = _answered(state, happened)
            if attempt is None or not isinstance(happened, AnswerReceived) or not _is_one_of(happened.answer, kinds):
                return step(policy, state, happened)
            return step(policy, seen(state, attempt, happened), happened)

        return _noted(safeguard, seen, lambda patch: replace_step(patch, double))

    return made


def tokens(safeguard: str) -> Callable[[Callable[[Policy, State, AnswerReceived, AccessToken], AccessToken]], Double]:
    """Makes a double of a function that gives other moments to each token that the machine takes."""

    def made(changed: Callable[[Policy, State, AnswerReceived, AccessToken], AccessToken]) -> Double:
        def double(policy: Policy, state: State, happened: Input) -> State:
            after = step(policy, state, happened)
            if not isinstance(happened, AnswerReceived) or after.token is None or after.token is state.token:
                return after
            token = changed(policy, state, happened, after.token)
            return after._replace(token=replace(token, refresh_at=min(token.refresh_at, token.fresh_until)))

        return _noted(safeguard, changed, lambda patch: replace_step(patch, double))

    return made


def _is_one_of(answer: Outcome, kinds: tuple[type[Outcome] | BlockKind, ...]) -> bool:
    return type(answer) in kinds or (isinstance(answer, Blocked) and answer.kind in kinds)


def _answered(state: State, happened: Input) -> Attempt | None:
    if isinstance(happened, AnswerReceived):
        for attempt in (state.attempt, state.lost):
            if attempt is not None and attempt.id == happened.id:
                return attempt
    return None


def _noted(safeguard: str, function: Callable[..., object], install: Callable[[pytest.MonkeyPatch], None]) -> Double:
    assert function.__doc__ is not None
    double = Double(function.__name__, safeguard, function.__doc__.rstrip("."), install)
    DOUBLES[double.name] = double
    return double
