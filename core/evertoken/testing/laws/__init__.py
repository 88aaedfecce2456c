"""What may never be true: of a state, a step, a restart, and of an answer in view of what the server meant."""

from __future__ import annotations

__all__: tuple[str, ...] = ()
