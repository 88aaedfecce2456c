"""Calls and token requests over httpx and httpx2: one implementation, since both have one API under two names."""

from __future__ import annotations

__all__: tuple[str, ...] = ()
