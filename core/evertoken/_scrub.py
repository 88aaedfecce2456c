"""Text from elsewhere, made fit to be shown: no secret in any spelling, no control characters, not long.

The text is cut first, so nothing here takes longer for a longer one. A secret, or six characters in a row of one, is
marked where it stands as it is. Then the text is read as whoever wants the secret would read it: without white space,
without punctuation, and with every layer of encoding taken off. If that brings one to light, nothing is shown at all.
"""

from __future__ import annotations

import binascii
import html
import re
import unicodedata
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import NamedTuple
from urllib.parse import unquote

from evertoken._plain import INVISIBLE, plain

LEFT_OUT = "[left out: unsafe to show]"
_MARK = "[redacted]"
_FRAGMENT = 6
"""So many characters in a row give a secret away; of a shorter secret, all of them do."""
_LEAST_MARKED = 4
_LONGEST = 2_000
"""Characters of a text that are looked at; the rest is cut off first. Far fewer are shown."""
_MOST_LAYERS = 5

_PUNCTUATION = re.compile("[\x00-/:-@\\[-`{-\x7f]+")
_BASE64 = re.compile("[A-Za-z0-9+/]{6,}")
_STANDARD = str.maketrans("-_", "+/")
_HEX = re.compile("[0-9A-Fa-f]{8,}")
_BASE32 = re.compile("[A-Z2-7]{10,}")
_DIGITS_OF_32 = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", "0123456789ABCDEFGHIJKLMNOPQRSTUV")
_NUMBER = re.compile(r"(?<!\d)\d{2,5}(?!\d)", re.ASCII)
_NOT_ASCII = re.compile("[^\x00-\x7f]+")
# Runs of decoded bytes that can be read, as UTF-8 or as Latin-1. Most bytes that decode by chance have none.
_ASCII = re.compile(rb"[ -~]{6,}")
_LATIN = re.compile(rb"[ -~\x80-\xff]{4,}")
# As JSON, JavaScript, its old escape(), Unicode, C and Python write a character.
_ESCAPE = re.compile(
    r"\\U(00(?:0[0-9A-F]|10)[0-9A-F]{4})|(?:[\\%]u|,?U\+)([0-9A-F]{4})|\\u\{([0-9A-F]{1,6})\}|\\x([0-9A-F]{2})"
    r"|\\([0-3]?[0-7]{1,2})|\\([nrt])|\\(.)",
    re.IGNORECASE,
)


class Needles(NamedTuple):
    """What is looked for, without case: any of ``fragments``, all of one length, and any of ``texts`` as a whole."""

    fragments: set[str]
    texts: set[str]
    words: set[str]
    """Too short to be looked for inside of other words."""
    legible: re.Pattern[bytes]
    """Runs of decoded bytes that may hold one of them, since most decoded bytes mean nothing."""


def scrub(text: str, secrets: Needles | Iterable[str], limit: int = 200) -> str | None:
    """``text`` in at most ``limit`` characters, on one line, without ``secrets``; None where nothing is left.

    Of ``secrets`` no six characters in a row are shown; those of fewer than four characters would be found everywhere,
    so a text that contains one is left out. Case does not matter. In place of a text that is left out stand words that
    say so, unless those hold a secret themselves.
    """
    needles = secrets if isinstance(secrets, Needles) else needles_of(secrets)
    shown = _cut(_marked(plain(text[:_LONGEST]), needles), limit)
    if not _is_found(shown, needles):
        return shown or None
    return None if _is_found(LEFT_OUT, needles) else LEFT_OUT


def reveals(text: str, secrets: Needles | Iterable[str]) -> bool:
    """Whether :func:`scrub` would find a secret in ``text``. One that is too long to be looked at counts as one."""
    needles = secrets if isinstance(secrets, Needles) else needles_of(secrets)
    return len(text) > _LONGEST or bool(_spans(text, needles)) or _is_found(text, needles)


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


# What is looked for
# ------------------


def needles_of(secrets: Iterable[str], whole: Iterable[str] = ()) -> Needles:
    """What to look for, made once for several texts. ``whole`` are secrets of which a part gives nothing away.

    Of ``whole``, those with fewer than four characters are looked for as words only, since they are in every text.
    """
    fragments: set[str] = set()
    texts: set[str] = set()
    words: set[str] = set()
    for secret in secrets:
        for spelling in _spellings(secret, _FRAGMENT):
            if len(spelling) < _FRAGMENT:
                texts.add(spelling)
            else:
                fragments.update(_windows(spelling))
    for text in whole:
        if len(text) < _LEAST_MARKED:
            words.add(_folded(text))
        else:
            texts |= _spellings(text, _LEAST_MARKED)
    texts.discard("")
    words.discard("")
    is_odd = any(len(text) < _FRAGMENT for text in texts) or not all(map(str.isascii, chain(fragments, texts)))
    return Needles(fragments, texts, words, _LATIN if is_odd else _ASCII)


def _spellings(secret: str, least: int) -> set[str]:
    """``secret`` as it stands in a text, without white space, and, if enough is left then, without punctuation."""
    if secret.isascii():
        return {secret.lower()} if secret.isalnum() else _spelt(secret, least)
    octets = secret.encode("utf-8", "surrogatepass")
    forms = {
        unicodedata.normalize("NFKC", secret),
        *(octets.decode(codec, "ignore") for codec in ("latin-1", "cp1252")),
        *(_NOT_ASCII.sub("", form) for form in (secret, unicodedata.normalize("NFKD", secret))),
    }
    return _spelt(secret, least).union(*(_spelt(form, least) for form in forms if len(form) >= least))


def _spelt(secret: str, least: int) -> set[str]:
    squeezed = _squeezed(secret)
    bare = _bare(squeezed)
    spellings = {_folded(plain(secret)), _folded(squeezed)}
    return spellings | {_folded(bare)} if len(bare) >= least else spellings


def _windows(text: str) -> list[str]:
    return [text[start : start + _FRAGMENT] for start in range(len(text) - _FRAGMENT + 1)]


def _folded(text: str) -> str:
    """``text`` without case, character by character, so that a place in it is the same place in ``text``."""
    return text.lower() if text.isascii() else "".join([char.casefold()[:1] for char in text])


def _squeezed(text: str) -> str:
    return "".join(INVISIBLE.sub("", text).split())


def _bare(text: str) -> str:
    return _PUNCTUATION.sub("", text)


# Where it stands
# ---------------


def _marked(text: str, needles: Needles) -> str:
    """``text`` with a mark in place of what is found in it as it stands."""
    pieces: list[str] = []
    shown = 0
    for start, end in _spans(text, needles):
        if start > shown or not pieces:  # Those that overlap or touch are one.
            pieces += [text[shown:start], _MARK]
        shown = max(shown, end)
    return "".join([*pieces, text[shown:]])


def _spans(text: str, needles: Needles) -> list[tuple[int, int]]:
    folded = _folded(text)
    windows = _windows(folded)
    spans: list[tuple[int, int]] = []
    if not needles.fragments.isdisjoint(windows):
        spans = [(at, at + _FRAGMENT) for at, window in enumerate(windows) if window in needles.fragments]
    # A pattern takes long to build, and most are not there.
    marked = [re.escape(needle) for needle in needles.texts if len(needle) >= _LEAST_MARKED and needle in folded]
    words = [rf"(?<!\w){re.escape(word)}(?!\w)" for word in needles.words if word in folded]
    for pattern in (*marked, *words):
        spans += [match.span() for match in re.finditer(pattern, folded)]
    return sorted(spans)


# What brings it to light
# -----------------------


def _is_found(text: str, needles: Needles) -> bool:
    if not text or not any(needles[:3]):
        return False
    views = _known.get((text, needles.legible)) or _views(text, needles.legible)
    if any(needle in view for needle in needles.texts for view in views):
        return True
    if not all(needles.fragments.isdisjoint(_windows(view)) for view in views):
        return True
    if len(text) <= _LONGEST_KNOWN:
        if len(_known) >= _MOST_KNOWN:
            _known.clear()
        _known[text, needles.legible] = views
    return False


_known: dict[tuple[str, re.Pattern[bytes]], frozenset[str]] = {}
"""The views of texts in which no secret was found: a server in trouble sends the same words again and again."""
_MOST_KNOWN = 32
_LONGEST_KNOWN = 200


def _views(text: str, legible: re.Pattern[bytes]) -> frozenset[str]:
    """All that ``text`` can be read as."""
    views: set[str] = set()
    for reading in _readings(text, legible):
        # Other letters may stand between those of the secret, or in place of some.
        texts = (reading,) if reading.isascii() else (reading, _NOT_ASCII.sub("", reading))
        views.update(_folded(view) for text in texts for view in (text, _bare(text)))
    return frozenset(views)


def _readings(text: str, legible: re.Pattern[bytes]) -> Iterator[str]:
    """``text`` without white space, and whatever it can be decoded to, layer by layer."""
    known: set[str] = {""}
    layer = [_squeezed(text), "".join([chr(int(number)) for number in _NUMBER.findall(text)])]
    for _ in range(_MOST_LAYERS):
        yield from layer
        known.update(layer)
        inner = [_squeezed(inner) for reading in layer for inner in _decoded(reading, legible)]
        layer = [reading for reading in dict.fromkeys(inner) if reading not in known]
    yield from layer


def _decoded(reading: str, legible: re.Pattern[bytes]) -> Iterator[str]:
    """``reading`` with one layer of encoding taken off, in each way in which that can be done.

    Base64, hex and base32 are tried from each place within a group, since nobody knows where the encoded text begins.
    """
    if not reading.isascii():
        yield unicodedata.normalize("NFKC", reading)
    if "\\" in reading or "%u" in reading.lower() or "u+" in reading.lower():
        yield _ESCAPE.sub(_unescaped, reading).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    yield html.unescape(reading)
    yield unquote(reading)
    yield unquote(reading, "latin-1")
    letters = _BASE64.findall(reading.translate(_STANDARD))
    digits = _HEX.findall(_bare(reading).replace("0x", ""))
    decoded = [[binascii.a2b_base64(run[at:] + "A" * ((at - len(run)) % 4)) for run in letters] for at in range(4)]
    decoded += [[bytes.fromhex(run[at : len(run) - (len(run) - at) % 2]) for run in digits] for at in range(2)]
    numbers = [int(run.translate(_DIGITS_OF_32), 32) for run in _BASE32.findall(reading.upper())]
    decoded += [[(number >> at).to_bytes(number.bit_length() // 8 + 1) for number in numbers] for at in range(8)]
    for runs in decoded:
        # UTF-16 has a zero in every other place.
        if found := legible.findall(b"\xff".join(runs).replace(b"\0", b"")):
            yield b"\xff".join(found).decode(errors="replace")
            yield b"\xff".join(found).decode("latin-1")


def _unescaped(match: re.Match[str]) -> str:
    *numbers, octal, space, itself = match.groups()
    number = next(filter(None, numbers), None)
    if number is None:
        return chr(int(octal, 8)) if octal else "" if space else itself
    return chr(int(number, 16)) if int(number, 16) <= 0x10FFFF else ""
