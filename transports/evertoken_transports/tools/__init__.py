"""The ``evertoken`` command, and what stands behind it."""

from __future__ import annotations

__all__: tuple[str, ...] = ()
