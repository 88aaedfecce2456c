"""One look into Redis without a client, for a command that runs for a moment: to import a client takes half a second.

Only plain URLs and plain answers are read here. Anything else is left to a client, which asks again, and says what is
wrong.
"""

from __future__ import annotations

import math
import socket
import time
from typing import Any
from urllib.parse import unquote, urlsplit

from evertoken.sharing._store import Found
from evertoken_transports.stores._key import FORMAT, check_key

LOAD = """
local now = redis.call('TIME')
local found = redis.call('GET', KEYS[1])
return {found, now[1], now[2]}
"""
"""Run by Redis: the value, and the server's time in seconds and microseconds."""

_MOST = 1 << 21
"""Bytes. No answer is as long."""
_MOST_PARTS = 16
"""Elements of an array. No answer has as many."""


def name_of(prefix: str, key: str) -> str:
    """The name of the value under ``key``, and of the channel on which its changes are told. Raises ValueError."""
    check_key(key)
    return f"{prefix}:{FORMAT}:{key}"


def found_in(answer: Any) -> Found:  # noqa: ANN401
    """The value and the time in ``answer``, which ends with what :data:`LOAD` returns.

    Raises ValueError or TypeError if it is of another kind, since there are servers that only speak like Redis.
    """
    *_, value, seconds, micros = answer
    now = float(seconds) + float(micros) / 1_000_000
    if not isinstance(value, bytes | None) or not math.isfinite(now):
        raise ValueError("an answer of another kind")
    return Found(value, now)


def look(url: str, key: str, *, prefix: str = "evertoken", timeout: float) -> Found | None:
    """What stands under ``key`` at ``url``; None where a client has to be asked, for that or for what is wrong."""
    try:
        commands, host, port, is_secured = _way(url)
        del url
        commands.append(("EVAL", LOAD, "1", name_of(prefix, key)))
        return found_in(_answers(commands, host, port, is_secured=is_secured, until=time.monotonic() + timeout)[-1])
    except (OSError, ValueError, TypeError, RecursionError):  # The last for arrays within arrays within arrays.
        return None


def _way(url: str) -> tuple[list[tuple[str, ...]], str, int, bool]:
    """The commands to be sent first, host and port, and whether to use TLS. Raises ValueError for no plain URL."""
    parts = urlsplit(url)
    database = parts.path.strip("/")
    is_plain = not parts.query and not parts.fragment and (database.isdigit() or not database)
    if parts.scheme not in ("redis", "rediss") or not is_plain:
        raise ValueError("not a plain URL")
    names = [unquote(each) for each in (parts.username, parts.password) if each]
    if parts.username and not parts.password:
        raise ValueError("a name without a password")
    commands = [("AUTH", *names)] if names else []
    if database.strip("0"):  # A connection begins with database 0, and a user may lack the right to SELECT.
        commands.append(("SELECT", database))
    return commands, unquote(parts.hostname or "localhost"), parts.port or 6379, parts.scheme == "rediss"


def _answers(commands: list[tuple[str, ...]], host: str, port: int, *, is_secured: bool, until: float) -> list[object]:
    with socket.create_connection((host, port), max(0.001, until - time.monotonic())) as plain:
        if not is_secured:
            return _said(plain, commands, until)
        import ssl  # noqa: PLC0415 (most stores in a company's own network are reached without TLS)

        with ssl.create_default_context().wrap_socket(plain, server_hostname=host) as secured:
            return _said(secured, commands, until)


def _said(line: socket.socket, commands: list[tuple[str, ...]], until: float) -> list[object]:
    """The answers to ``commands``, in RESP2, the protocol with which connections to Redis and Valkey begin."""
    line.sendall(b"".join(_written(command) for command in commands))
    data = b""
    while len(data) < _MOST:
        line.settimeout(max(0.001, until - time.monotonic()))
        piece = line.recv(65_536)
        if not piece:
            break
        data += piece
        try:
            return _read(data, len(commands))
        except IndexError:  # There is more to come.
            continue
    raise ValueError("no answer")


def _written(command: tuple[str, ...]) -> bytes:
    parts = [part.encode() for part in command]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)


def _read(data: bytes, count: int) -> list[object]:
    values, at = list[object](), 0
    for _ in range(count):
        value, at = _value(data, at)
        values.append(value)
    return values


def _value(data: bytes, at: int) -> tuple[object, int]:
    """The value that begins at ``at``, and where it ends.

    Raises:
        IndexError: the value is not whole yet.
        ValueError: it is an error, or not what Redis answers.
    """
    end = data.find(b"\r\n", at)
    if end < 0:
        raise IndexError
    kind, rest, at = data[at : at + 1], data[at + 1 : end], end + 2
    if kind == b"+":
        return rest, at
    if kind not in (b":", b"$", b"*"):
        raise ValueError("an error, or another protocol")
    number = int(rest)
    if kind == b":":
        return number, at
    if number < 0:
        return None, at
    if kind == b"$":
        if len(data) < at + number + 2:
            raise IndexError
        return data[at : at + number], at + number + 2
    if number > _MOST_PARTS:
        raise ValueError("an answer of another kind")
    parts = list[object]()
    for _ in range(number):
        part, at = _value(data, at)
        parts.append(part)
    return parts, at
