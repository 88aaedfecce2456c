"""Test tools that need a library or a runtime; what needs neither is in ``evertoken.testing``.

    with MangopayServer() as server:                  under pytest: the fixture ``mangopay_server``
        source = server.token_source()                for threads; ``async_token_source()`` for asyncio and trio
        server.next_token_requests(TokenFault.SERVER_ERROR, WorldFault.LOST_AFTER)
        source.authorization()
        server.advance(3600)

    report = simulate_source(7, "trio")               hours of faults around a real source, in virtual time

``docs/testing.md`` shows how the tests of an application use them. Needs ``evertoken[pytest]``, or h11 alone without
pytest. Strategies and a state machine for Hypothesis are in ``evertoken_transports.testing.hypothesis``.
"""

from __future__ import annotations

try:
    import h11 as _h11  # noqa: F401 # pyright: ignore[reportUnusedImport] (to say here what is missing)
except ImportError as error:
    raise ImportError(
        "evertoken_transports.testing needs h11: pip install 'evertoken[pytest]', or evertoken[h11] without pytest",
        name=error.name,
    ) from error

from evertoken_transports.testing._clocks import VirtualClock
from evertoken_transports.testing._loop_clock import LoopClock
from evertoken_transports.testing._loops import VirtualEventLoop
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
    "simulate_source",
)
