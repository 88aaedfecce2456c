"""Text from elsewhere, made fit to be shown: no secret, no control characters, not long."""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ("plain", "scrub")

_MARK = "[redacted]"
_LEAST_LENGTH = 4
_MOST_SECRETS = 100

# C0 and C1 controls, surrogates, non-characters, and what Unicode calls default ignorable (soft hyphens, zero width
# spaces, bidirectional overrides, variation selectors, tags). Written out, because str.isprintable() follows the
# interpreter's version of Unicode. White space stays; it is folded.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f"
    "\u202a-\u202e\u2060-\u206f\u3164\ud800-\udfff\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\ufffe\uffff"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)


def scrub(text: str, secrets: Iterable[str], limit: int = 200) -> str | None:
    """``text`` in at most ``limit`` characters, on one line, without any of ``secrets``; None where nothing is left.

    Secrets are found in any case, and also where invisible characters were put between their letters. Those of fewer
    than four characters would be found everywhere, so a text that contains one is not shown at all. Nor is a text with
    more secrets to look for than a server has reason to send.
    """
    known = tuple(secrets)
    if len(text) <= limit and _is_plain(text) and len(known) <= _MOST_SECRETS and _lacks(text, known):
        return text or None
    return _scrubbed(text, known, limit)


def _is_plain(text: str) -> bool:
    """Whether ``text`` is ASCII on one line, without white space to fold."""
    return text.isascii() and text.isprintable() and "  " not in text and text == text.strip(" ")


def _lacks(text: str, secrets: Iterable[str]) -> bool:
    """Whether none of ``secrets`` is in ``text``, which is plain; False also where that takes a pattern to tell.

    Most texts hold none, and a pattern costs many times as much to build. Two texts in ASCII differ in nothing but case
    exactly if they are equal in lower case.
    """
    lowered = text.lower()
    return all(not secret or (_is_plain(secret) and secret.lower() not in lowered) for secret in secrets)


def _scrubbed(text: str, secrets: tuple[str, ...], limit: int) -> str | None:
    spellings = {spelling for secret in secrets for spelling in (secret, plain(secret)) if spelling}
    if not spellings:
        return _cut(plain(text), limit) or None
    if len(spellings) > _MOST_SECRETS:
        return None
    any_secret = _any_of(spellings)
    shown = _cut(any_secret.sub(_MARK, plain(any_secret.sub(_MARK, text))), limit)
    short = {spelling for spelling in spellings if len(spelling) < _LEAST_LENGTH}
    if short and _any_of(short).search(f"{text}\n{plain(text)}"):
        return None
    # A secret that the mark itself spells, or a cut.
    return None if any_secret.search(shown) else shown or None


def _any_of(spellings: Iterable[str]) -> re.Pattern[str]:
    longest_first = sorted(spellings, key=lambda text: (-len(text), text))
    return re.compile("|".join(map(re.escape, longest_first)), re.IGNORECASE)


def plain(text: str) -> str:
    """``text`` on one line, without control characters and what else cannot be seen. Doing it twice changes nothing."""
    return " ".join(_INVISIBLE.sub("", text).split())


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"
