"""What the names of values in all stores have in common."""

from __future__ import annotations

import re

FORMAT = 1
"""Stands in the name of all that is stored, so that versions of this library that store differently never meet."""

_KEY = re.compile(r"[0-9a-f]{64}")


def check_key(key: str) -> None:
    """Raise ValueError unless ``key`` is 64 hexadecimal digits: it becomes the name of a file, or of a channel."""
    if not _KEY.fullmatch(key):
        raise ValueError("key must be 64 hexadecimal digits, in lower case")
