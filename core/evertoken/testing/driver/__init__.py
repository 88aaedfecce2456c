"""The check whether an embedder's driver keeps the rules of the machine that it drives."""

from __future__ import annotations

__all__: tuple[str, ...] = ()
