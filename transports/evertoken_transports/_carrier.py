"""Carrying one claimed request: send it, and report exactly one outcome, whatever happens on the way."""

from __future__ import annotations

from evertoken import HttpResponse, TokenRequest
from evertoken_transports._coordinator import Coordinator
from evertoken_transports._exchange import AsyncExchange, Exchange, ExchangeFailed

__all__ = ("carry", "carry_async", "described")


def carry(coordinator: Coordinator, exchange: Exchange, request: TokenRequest) -> None:
    """Send ``request`` from this thread. One that raises has failed; a torn down thread gave up."""
    try:
        coordinator.took(request)
        _report(coordinator, request, exchange(request))
    except Exception as error:  # noqa: BLE001 (an exchange may raise anything, and nothing may get lost)
        coordinator.send_failed(request, described(error))
    except BaseException:
        coordinator.request_abandoned(request)
        raise


async def carry_async(coordinator: Coordinator, exchange: AsyncExchange, request: TokenRequest) -> None:
    """The same from a task. Cancellation is not failure: it is reported as abandoned, and goes on its way."""
    try:
        coordinator.took(request)
        _report(coordinator, request, await exchange(request))
    except Exception as error:  # noqa: BLE001 (an exchange may raise anything, and nothing may get lost)
        coordinator.send_failed(request, described(error))
    except BaseException:
        coordinator.request_abandoned(request)
        raise


def _report(coordinator: Coordinator, request: TokenRequest, response: object) -> None:
    if isinstance(response, HttpResponse):
        coordinator.receive_response(request, response)
    else:
        coordinator.send_failed(request, f"the exchange returned {type(response).__name__}, not an HttpResponse")


def described(error: BaseException) -> str:
    """The error in one line; the machine takes every secret out of it before anybody sees it."""
    if isinstance(error, ExchangeFailed):
        return str(error)
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
