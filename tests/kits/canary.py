"""Marked secrets and tokens, and the search for their marks.

A test that needs a credential or a token takes it from here. ``canary_plugin.py`` then fails the test if a mark turns
up in a log record, in captured output, in an exception that the test expected, in an event, or in the repr of an
object that outlives the test. What a test holds in its own hands it gives to :func:`assert_clean`.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import pickle
import pprint
import traceback
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from evertoken import ClientCredentials, mangopay
from tests.kits.spellings import CHARACTER_BY_CHARACTER

__all__ = ("SECRET_MARK", "TOKEN_MARK", "Leak", "assert_clean", "find_marks", "grant", "leaks_of", "secret", "token")

SECRET_MARK = "cAnArYsEcReT"
TOKEN_MARK = "cAnArYtOkEn"


class Leak(AssertionError):
    """A mark stands where no secret and no token may."""


def secret(n: int = 0) -> str:
    """A client secret with the mark in it; another ``n`` is another secret."""
    return f"{SECRET_MARK}{n}"


def token(n: int = 0) -> str:
    """An access token with the mark in it; another ``n`` is another token."""
    return f"{TOKEN_MARK}{n}"


def grant(
    *, client_id: str = "canary", api_key: str | None = None, mtls: bool = False, base_url: str | None = None
) -> ClientCredentials:
    """A grant of Mangopay's sandbox whose API key is marked."""
    return mangopay.sandbox(client_id, secret() if api_key is None else api_key, mtls=mtls, base_url=base_url)


def find_marks(text: str | bytes) -> list[str]:
    """What ``text`` gives away: "a secret", "a token". Marks are found in any case, escaped, in hex, Base64, Base32."""
    searched = text.decode("latin-1") if isinstance(text, bytes) else text
    folded = searched.casefold()
    found: list[str] = []
    for name, mark in (("a secret", SECRET_MARK), ("a token", TOKEN_MARK)):  # Plain loops, which are the fastest.
        for where, spellings in ((folded, _IN_ANY_CASE[mark]), (searched, _BASE64[mark])):
            for spelling in spellings:
                if spelling in where and name not in found:
                    found.append(name)
    return found


def leaks_of(thing: object) -> list[str]:
    """Every way in which ``thing`` gives a mark away, in words that do not repeat it.

    Tried are repr, str, format, pprint, pickle, what is found by the fields of a dataclass and by ``vars``, and for an
    exception its traceback and the local variables of the frames that are evertoken's own. A str or bytes is searched
    as it stands.
    """
    return [
        f"{' and '.join(marks)} in the {channel} of a {type(thing).__qualname__}"
        for channel, text in _renderings(thing)
        if (marks := find_marks(text))
    ]


def assert_clean(*things: object) -> None:
    """Raise :class:`Leak` if one of ``things`` gives a mark away in a way that :func:`leaks_of` tries."""
    leaks = [leak for thing in things for leak in leaks_of(thing)]
    if leaks:
        raise Leak("; ".join(leaks))


def _renderings(thing: object) -> Iterator[tuple[str, str | bytes]]:
    if isinstance(thing, (str, bytes)):
        yield "text", thing
        return
    yield "repr", repr(thing)
    yield "str", str(thing)
    yield "format", f"{thing}"
    for channel, write in _WRITERS.items():
        yield channel, _written(thing, write)
    if isinstance(thing, BaseException):
        yield "traceback", "".join(traceback.format_exception(thing))
        yield from _own_locals(traceback.TracebackException.from_exception(thing, capture_locals=True))


def _written(thing: object, write: Callable[[Any], str | bytes]) -> str | bytes:
    try:
        return write(thing)
    except Exception:  # noqa: BLE001 - what refuses to be written cannot leak that way, whatever it raises
        return b""


def _own_locals(shown: traceback.TracebackException) -> Iterator[tuple[str, str]]:
    """The local variables of evertoken's frames, as error trackers show them, along the chain that Python prints."""
    for frame in shown.stack:
        # Methods that `dataclass` has made are in no file. They may be of another library, and are searched anyway.
        if frame.filename == "<string>" or any(Path(frame.filename).is_relative_to(folder) for folder in _OWN):
            yield f"local variables of {frame.name} in the traceback", repr(frame.locals)
    context = None if shown.__suppress_context__ else shown.__context__
    for link in (shown.__cause__, context):
        if link is not None:
            yield from _own_locals(link)


def _folders(package: str) -> Iterator[Path]:
    spec = find_spec(package)
    assert spec is not None
    assert spec.submodule_search_locations is not None
    yield from map(Path, spec.submodule_search_locations)


def _in_base(mark: str, encode: Callable[[bytes], bytes], bits: int) -> tuple[str, ...]:
    """What ``mark`` looks like in what ``encode`` makes, ``bits`` to a character, wherever in a group it starts."""
    spellings: list[str] = []
    for lead in range(5):
        encoded = encode(b"\0" * lead + mark.encode()).decode()
        # The characters at both ends are left out, since they also depend on the bytes beside the mark.
        spellings.append(encoded[-(-8 * lead // bits) : 8 * (lead + len(mark)) // bits])
    return tuple(spellings)


_OWN = (*_folders("evertoken"), *_folders("evertoken_transports"))
_WRITERS: Mapping[str, Callable[[Any], str | bytes]] = {
    "pickle": lambda thing: pickle.dumps(thing, 0),
    "newest pickle": lambda thing: pickle.dumps(thing, pickle.HIGHEST_PROTOCOL),
    "pprint": pprint.pformat,
    "asdict": lambda thing: repr(dataclasses.asdict(thing)),
    "astuple": lambda thing: repr(dataclasses.astuple(thing)),
    "vars": lambda thing: json.dumps(thing, default=vars),
}
_IN_ANY_CASE = {
    mark: {
        mark.casefold(),
        *(encode(mark).strip('\\"').casefold() for encode in CHARACTER_BY_CHARACTER),
        *(run.casefold() for run in _in_base(mark, base64.b32encode, 5)),
    }
    for mark in (SECRET_MARK, TOKEN_MARK)
}
_BASE64 = {mark: _in_base(mark, base64.b64encode, 6) for mark in (SECRET_MARK, TOKEN_MARK)}
