"""The authorization server as a pure model: what it is asked, what it does by its script, what it writes down."""

from __future__ import annotations

__all__: tuple[str, ...] = ()
