"""A hostile world in virtual time: clients, a network, the server, and what is checked while it runs."""

from __future__ import annotations

__all__: tuple[str, ...] = ()
