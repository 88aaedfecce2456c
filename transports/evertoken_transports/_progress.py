"""How far a token request has come: noted by whatever sends it, read by those who wait for it."""

from __future__ import annotations

import contextvars
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Protocol, TypeVar

from evertoken import GiveUp, ProblemKind, RequestState, TokenMachine

_T = TypeVar("_T")


class Listener(Protocol):
    """What is told of a request while it is carried: a coordinator."""

    def _store_noted(self, note: str) -> None: ...

    def _store_found(self, name: str, trouble: str) -> None: ...

    def _endpoint_asked(self, attempt: int) -> None: ...


class Progress:
    """Where the request is that is being carried here. Written by one, read by any number of threads."""

    __slots__ = ("_listener", "attempt", "stage")

    def __init__(self, attempt: int | None = None, listener: Listener | None = None) -> None:
        self.attempt = attempt
        """The request's id."""
        self.stage = ""
        """As in "while reading the answer's body, 5 of 100 bytes so far"; empty before anything was done."""
        self._listener = listener

    def tell(self, note: str) -> bool:
        """Whether whoever carries the request has been told of ``note``, which is of a store, and tells everybody."""
        if self._listener is not None:
            self._listener._store_noted(note)
        return self._listener is not None

    def found_store(self, name: str, trouble: str) -> None:
        """A store was called, and is in ``trouble``; if that is empty, in none."""
        if self._listener is not None:
            self._listener._store_found(name, trouble)

    def asking(self) -> None:
        """Nothing was found in any store: the token endpoint is asked now."""
        if self._listener is not None and self.attempt is not None:
            self._listener._endpoint_asked(self.attempt)

    def told(self, machine: TokenMachine, now: float, answer: _T) -> _T | GiveUp:
        """``answer``; if a caller is to give up because of this request, with how far it has come.

        Whoever sends it knows where it is stuck before anybody is told: at its own deadline, or a caller's.
        """
        attempt = machine.state_value.attempt or machine.state_value.lost
        if not isinstance(answer, GiveUp) or not self.stage or attempt is None or attempt.id != self.attempt:
            return answer
        error = answer.error
        if machine.request_state(now) is RequestState.IN_FLIGHT:
            where = f"a token request is under way, {self.stage}"
        elif error.problem.kind is ProblemKind.LOST:
            where = f"time ran out {self.stage}"
        else:
            return answer
        problem = replace(error.problem, summary=f"{error.problem.summary}; {where}")
        return GiveUp(type(error)(problem, error.retry_after))


_CURRENT: contextvars.ContextVar[Progress] = contextvars.ContextVar("evertoken_progress")


def progress() -> Progress:
    """The note of whoever carries a request here; one that nobody reads, where an exchange is called by hand."""
    return _CURRENT.get(None) or Progress()


@contextmanager
def carrying(note: Progress) -> Generator[None]:
    """Let an exchange that is called in here find ``note``."""
    token = _CURRENT.set(note)
    try:
        yield
    finally:
        with suppress(ValueError):  # Another context: the collector ends a task whose loop is gone, wherever that is.
            _CURRENT.reset(token)
