"""Every double there is, in the order of the table."""

from __future__ import annotations

from tests.ablations import news, parser, tokens, told, waits
from tests.ablations.double import DOUBLES, Double

__all__ = ("DOUBLES", "Double")

# They note themselves down as they are imported.
_ = (waits, news, tokens, told, parser)
