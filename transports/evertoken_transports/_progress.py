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
    """A coordinator, as seen by what carries its request and tells it of the request meanwhile."""

    def _store_noted(self, note: str) -> None: ...

    def _store_found(self, name: str, trouble: str) -> None: ...

    def _endpoint_asked(self, attempt: int) -> None: ...


class Progress:
    """How far a request has come that is being carried. One thread writes it, and any number read it."""

    __slots__ = ("_listener", "attempt", "stage")

    def __init__(self, attempt: int | None = None, listener: Listener | None = None) -> None:
        self.attempt = attempt
        """The request's id; None where an exchange is called by hand."""
        self.stage = ""
        """As in "while reading the answer's body, 5 of 100 bytes so far"; empty before anything was done."""
        self._listener = listener

    def tell(self, note: str) -> bool:
        """Have everybody told of ``note``, which is about a store. Returns whether there is a coordinator to do so."""
        if self._listener is not None:
            self._listener._store_noted(note)
        return self._listener is not None

    def found_store(self, name: str, trouble: str) -> None:
        """The store called ``name`` was called, and is in ``trouble``; an empty text means that it is well."""
        if self._listener is not None:
            self._listener._store_found(name, trouble)

    def asking(self) -> None:
        """Nothing was found in any store, so that the token endpoint is asked now."""
        if self._listener is not None and self.attempt is not None:
            self._listener._endpoint_asked(self.attempt)

    def told(self, machine: TokenMachine, now: float, answer: _T) -> _T | GiveUp:
        """``answer``; if it is to give up because of this request, the error says how far the request has come.

        That is known before the request has ended, so that a caller whose time is over first is told it as well.
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
    """The note of whoever carries a request here; a new one that nobody reads, if an exchange is called by hand."""
    return _CURRENT.get(None) or Progress()


@contextmanager
def carrying(note: Progress) -> Generator[None]:
    """Let an exchange that is called within the block find ``note``."""
    token = _CURRENT.set(note)
    try:
        yield
    finally:
        with suppress(ValueError):  # In another context: the collector ends a task whose loop is gone anywhere.
            _CURRENT.reset(token)
