"""Text without characters that cannot be seen, so that it is what it looks like."""

from __future__ import annotations

import re

# C0 and C1 controls, surrogates, non-characters, and what Unicode calls default ignorable (soft hyphens, zero width
# spaces, bidirectional overrides, variation selectors, tags). Written out, because str.isprintable() follows the
# interpreter's version of Unicode. White space is not among them, since :func:`plain` folds it.
INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    "\u202a-\u202e\u2060-\u206f\u3164\ud800-\udfff\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)


def plain(text: str) -> str:
    """``text`` on one line, without control characters and what else cannot be seen. Doing it twice changes nothing."""
    return " ".join(INVISIBLE.sub("", text).split())
