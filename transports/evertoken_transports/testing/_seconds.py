"""Checking what is given as a number of seconds."""

from __future__ import annotations

import math
from typing import cast


def check_seconds(name: str, seconds: object, *, endless: bool = False) -> None:
    """Raise ValueError unless ``seconds`` is a number that is not negative, and finite unless ``endless``."""
    is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if not is_number or not 0.0 <= cast("float", seconds) <= math.inf or (seconds == math.inf and not endless):
        raise ValueError(f"{name} must be a {'' if endless else 'finite '}number that is not negative, not {seconds!r}")
