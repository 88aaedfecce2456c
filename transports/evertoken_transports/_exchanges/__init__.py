"""How a token request travels over sockets of our own: addresses, connections, h11, on threads, asyncio and trio."""

from __future__ import annotations

__all__: tuple[str, ...] = ()
