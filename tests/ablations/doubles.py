"""Every double there is, in the order of the table."""

from __future__ import annotations

from tests.ablations import news, parser, tokens, told, waits
from tests.ablations.double import DOUBLES, Double

__all__ = ("DOUBLES", "Double")

# The doubles of a module note themselves down in DOUBLES when it is imported.
_ = (waits, news, tokens, told, parser)
