"""Carrying one claimed request: send it, and report exactly one outcome, whatever happens on the way."""

from __future__ import annotations

from dataclasses import dataclass, field
from inspect import isawaitable, iscoroutine
from typing import NamedTuple

from evertoken import Blocked, BlockKind, HttpResponse, Problem, TokenMachine, TokenRequest
from evertoken._secrecy import Unpicklable
from evertoken_transports._asking import NoSecret, Secret, ask, ask_async
from evertoken_transports._blame import bug_in, name_of, place_of
from evertoken_transports._coordinator import Coordinator
from evertoken_transports._exchange import AsyncExchange, Exchange, ExchangeBroken, ExchangeFailed, NotNow
from evertoken_transports._exchanges.connecting import told_of
from evertoken_transports._progress import carrying, progress
from evertoken_transports._runtime import is_cancelled_inside


@dataclass(frozen=True, slots=True)
class _NoAnswer(Unpicklable):
    """There is no answer; ``reason`` is for people, once the machine has taken every secret out of it."""

    reason: str = field(repr=False)
    is_bug: bool = False


class _Later(NamedTuple):
    """Nothing was sent, and nothing is to be sent before ``until``."""

    until: float
    problem: Problem | None


def carry(coordinator: Coordinator, exchange: Exchange, request: TokenRequest) -> None:
    """Send ``request`` from this thread, and report what came of it.

    An exception of the exchange means that the request has failed. An exit or an interruption of this thread means that
    the request is abandoned, and is raised again.
    """
    try:
        if (note := coordinator._took(request)) is not None:
            with carrying(note):
                _carry(coordinator, exchange, request)
    except BaseException:
        coordinator.request_abandoned(request)
        raise


async def carry_async(coordinator: Coordinator, exchange: AsyncExchange, request: TokenRequest) -> None:
    """The same from a task. If it is cancelled, the request is not failed but abandoned, and that is raised again."""
    try:
        if (note := coordinator._took(request)) is not None:
            with carrying(note):
                await _carry_async(coordinator, exchange, request)
    except BaseException:
        coordinator.request_abandoned(request)
        raise


def _carry(coordinator: Coordinator, exchange: Exchange, request: TokenRequest) -> None:
    signed: TokenRequest | None = request
    if request.asks:
        signed = _signed(coordinator, request, ask(coordinator))
    if signed is not None:
        outcome = _outcome(exchange, signed)
        again = ask(coordinator) if _is_refused(coordinator.machine, signed, outcome) else None
        _report(coordinator, signed, outcome, again)


async def _carry_async(coordinator: Coordinator, exchange: AsyncExchange, request: TokenRequest) -> None:
    signed: TokenRequest | None = request
    if request.asks:
        signed = _signed(coordinator, request, await ask_async(coordinator))
    if signed is not None:
        outcome = await _outcome_async(exchange, signed)
        again = await ask_async(coordinator) if _is_refused(coordinator.machine, signed, outcome) else None
        _report(coordinator, signed, outcome, again)


# The client's secret, where a callable gives it
# ----------------------------------------------


def _signed(coordinator: Coordinator, request: TokenRequest, said: Secret | NoSecret) -> TokenRequest | None:
    """The request to send, with the secret that was ``said``; None if nothing is to be sent, which is reported here."""
    if isinstance(said, NoSecret):
        coordinator.secret_failed(request, coordinator.machine.read_no_secret(request, said.reason, is_bug=said.is_bug))
        return None
    progress().stage = ""
    try:
        return coordinator.secret_told(request, said.text)
    except Exception as error:  # noqa: BLE001 (the embedder's own client authentication runs in there)
        raised = f"the client authentication raised {name_of(type(error))}"
        reason = str(error) if isinstance(error, ValueError) else raised
        coordinator.secret_failed(request, coordinator.machine.read_no_secret(request, reason, is_bug=True))
        return None


def _is_refused(machine: TokenMachine, request: TokenRequest, outcome: HttpResponse | _NoAnswer | _Later) -> bool:
    """Whether the endpoint refused a secret that a callable gave, so that the callable may have a newer one by now.

    False from when a new secret has ended a refusal until the next grant: where the callable gives another text each
    time, a new one proves nothing.
    """
    source = request.grant is not None and request.grant.secret_source is not None
    if not source or not isinstance(outcome, HttpResponse) or machine.state_value.credentials.refusals_lifted:
        return False
    read = machine.read_response(request, outcome)
    return isinstance(read, Blocked) and read.kind in (BlockKind.REFUSED, BlockKind.UNCLEAR)


# An exchange may raise anything, with the secret in its text and in its frames. So its exception is made a value and
# dropped before anybody is told: else it would be the ``__context__`` of whatever a callback raises.


def _outcome(exchange: Exchange, request: TokenRequest) -> HttpResponse | _NoAnswer | _Later:
    try:
        return _checked(exchange, exchange(request))
    except BaseException as error:
        if not (isinstance(error, Exception) or is_cancelled_inside(error)):
            raise
        return _no_answer(error)


async def _outcome_async(exchange: AsyncExchange, request: TokenRequest) -> HttpResponse | _NoAnswer | _Later:
    try:
        answer: object = exchange(request)
        if not isawaitable(answer):
            return _not_awaitable(exchange, answer)
        return _checked(exchange, await answer)
    except BaseException as error:
        if not (isinstance(error, Exception) or is_cancelled_inside(error)):
            raise
        return _no_answer(error)


def _checked(exchange: object, answer: object) -> HttpResponse | _NoAnswer:
    if isinstance(answer, HttpResponse):
        return answer
    if iscoroutine(answer):
        answer.close()  # Else Python would warn that it was never awaited.
    what = f"returned {name_of(type(answer))}, not an HttpResponse"
    return _NoAnswer(f"the exchange {_name(exchange)} {what}", is_bug=True)


def _not_awaitable(exchange: object, answer: object) -> _NoAnswer:
    """The outcome where an exchange is no coroutine function, which only shows once it has been called."""
    what = f"returned {name_of(type(answer))}, which cannot be awaited"
    return _NoAnswer(f"the exchange {_name(exchange)} {what}: make it a coroutine function", is_bug=True)


def _no_answer(error: BaseException) -> _NoAnswer | _Later:
    """The outcome where an exchange raised ``error``."""
    if isinstance(error, NotNow):
        return _Later(error.until, error.problem)
    if isinstance(error, ExchangeFailed):
        return _NoAnswer(str(error), is_bug=isinstance(error, ExchangeBroken))
    bug = bug_in(error)
    return _NoAnswer(told_of(error)) if bug is None else _NoAnswer(place_of(bug), is_bug=True)


def _report(
    coordinator: Coordinator,
    request: TokenRequest,
    outcome: HttpResponse | _NoAnswer | _Later,
    again: Secret | NoSecret | None,
) -> None:
    if isinstance(outcome, _Later):
        coordinator.request_postponed(request, outcome.until, outcome.problem)
        return
    if isinstance(outcome, HttpResponse):
        coordinator.receive_response(request, outcome, again if isinstance(again, Secret) else None)
    else:
        read = coordinator.machine.read_failure(request, outcome.reason, is_bug=outcome.is_bug)
        coordinator.send_failed(request, read)


def _name(exchange: object) -> str:
    named = exchange if hasattr(exchange, "__qualname__") else type(exchange)
    return f"{getattr(named, '__module__', '?')}.{getattr(named, '__qualname__', '?')}"
