"""Carrying one claimed request: send it, and report exactly one outcome, whatever happens on the way."""

from __future__ import annotations

from dataclasses import dataclass, field

from evertoken import HttpResponse, TokenRequest
from evertoken._secrecy import Unpicklable
from evertoken_transports._coordinator import Coordinator
from evertoken_transports._exchange import AsyncExchange, Exchange, ExchangeFailed

__all__ = ("carry", "carry_async", "described")


@dataclass(frozen=True, slots=True)
class _NoAnswer(Unpicklable):
    reason: str = field(repr=False)


def carry(coordinator: Coordinator, exchange: Exchange, request: TokenRequest) -> None:
    """Send ``request`` from this thread. One that raises has failed; a torn down thread gave up."""
    try:
        if coordinator.took(request):
            _report(coordinator, request, _outcome(exchange, request))
    except BaseException:
        coordinator.request_abandoned(request)
        raise


async def carry_async(coordinator: Coordinator, exchange: AsyncExchange, request: TokenRequest) -> None:
    """The same from a task. Cancellation is not failure: it is reported as abandoned, and goes on its way."""
    try:
        if coordinator.took(request):
            _report(coordinator, request, await _outcome_async(exchange, request))
    except BaseException:
        coordinator.request_abandoned(request)
        raise


# An exchange may raise anything, with the secret in its text and in its frames. So its exception is over and forgotten
# before anybody is told: else it would be the context of whatever a callback raises.


def _outcome(exchange: Exchange, request: TokenRequest) -> object:
    try:
        return exchange(request)
    except Exception as error:  # noqa: BLE001
        return _NoAnswer(described(error))


async def _outcome_async(exchange: AsyncExchange, request: TokenRequest) -> object:
    try:
        return await exchange(request)
    except Exception as error:  # noqa: BLE001
        return _NoAnswer(described(error))


def _report(coordinator: Coordinator, request: TokenRequest, outcome: object) -> None:
    if isinstance(outcome, HttpResponse):
        coordinator.receive_response(request, outcome)
    elif isinstance(outcome, _NoAnswer):
        coordinator.send_failed(request, outcome.reason)
    else:
        coordinator.send_failed(request, f"the exchange returned {type(outcome).__name__}, not an HttpResponse")


def described(error: BaseException) -> str:
    """The error in one line; the machine takes every secret out of it before anybody sees it."""
    if isinstance(error, ExchangeFailed):
        return str(error)
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 (its own __str__ is broken: the name has to do)
        text = ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
