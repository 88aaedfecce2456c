"""Test tools that need a library or a runtime; what needs neither is in ``evertoken.testing``.

    with MangopayServer() as server:                  under pytest: the fixture ``mangopay_server``
        source = server.token_source()                for threads; ``async_token_source()`` for asyncio and trio
        server.next_token_requests(TokenFault.SERVER_ERROR, WorldFault.LOST_AFTER)
        source.authorization()
        server.advance(3600)

    report = simulate_source(0, "trio")               hours of faults around a real source, in virtual time

``docs/testing.md`` shows how the tests of an application use them. Needs ``evertoken[pytest]``, or h11 alone without
pytest. Strategies and a state machine for Hypothesis are in ``evertoken_transports.testing.hypothesis``.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from evertoken_transports.testing._clocks import VirtualClock
from evertoken_transports.testing._loop_clock import LoopClock
from evertoken_transports.testing._loops import VirtualEventLoop
from evertoken_transports.testing._plain_http import allow_plain_http

if TYPE_CHECKING:
    from evertoken_transports.testing._network import NETWORK_FAULTS, ApiTrouble, TokenTrouble
    from evertoken_transports.testing._server import MangopayServer
    from evertoken_transports.testing._source_simulation import SourceReport, simulate_source

__all__ = (
    "NETWORK_FAULTS",
    "ApiTrouble",
    "LoopClock",
    "MangopayServer",
    "SourceReport",
    "TokenTrouble",
    "VirtualClock",
    "VirtualEventLoop",
    "allow_plain_http",
    "simulate_source",
)

# What needs h11 is imported when it is asked for, since those who only use the strategies for Hypothesis, which are in
# this package too, need no h11.
_LOADED_WHEN_ASKED_FOR = {
    "NETWORK_FAULTS": "_network",
    "ApiTrouble": "_network",
    "TokenTrouble": "_network",
    "MangopayServer": "_server",
    "SourceReport": "_source_simulation",
    "simulate_source": "_source_simulation",
}

if not TYPE_CHECKING:  # A type checker that saw __getattr__ would accept every name of this module.

    def __getattr__(name: str) -> object:
        """Import the public name ``name``, which is asked for for the first time."""
        if name not in _LOADED_WHEN_ASKED_FOR:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        _require_h11(name)
        globals()[name] = found = getattr(import_module(f"{__name__}.{_LOADED_WHEN_ASKED_FOR[name]}"), name)
        return found


def _require_h11(name: str) -> None:
    try:
        import_module("h11")
    except ImportError as error:
        raise ImportError(f"{name} needs h11: pip install h11", name=error.name) from error
