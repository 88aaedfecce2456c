"""The simulated world, the explorer and the laws that both of them check."""

from __future__ import annotations
