"""One token for all processes of many hosts: what they share stands in Redis or Valkey."""

from __future__ import annotations

import math
import os
import re
import ssl
import threading
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from inspect import iscoroutinefunction
from typing import Any, cast
from urllib.parse import parse_qs, urlsplit

from evertoken._secrecy import Unpicklable
from evertoken.sharing._store import Found, StoreTrouble, Swapped
from evertoken_transports._blame import place_of
from evertoken_transports._runtime import OwnThread
from evertoken_transports._threads import start_thread
from evertoken_transports.stores._redis_look import LOAD, found_in, name_of

__all__ = ("RedisStore",)

_PATIENCE = 2.0
"""Seconds for a connection, and for an answer on it, after which the thread that calls ends. Callers leave before."""

# To publish comes last, and may fail: where the user may not, or a message is missed, those who wait look again.
_SWAP = """
local now = redis.call('TIME')
local found = redis.call('GET', KEYS[1])
local done = 0
if ARGV[1] == (found and '1' or '0') and (not found or found == ARGV[2]) then
  done = 1
  found = ARGV[3] == '1' and ARGV[4]
  if found then
    redis.call('SET', KEYS[1], found, 'PX', ARGV[5])
  else
    redis.call('DEL', KEYS[1])
  end
  redis.pcall('PUBLISH', KEYS[1], '')
end
return {done, found, now[1], now[2]}
"""

_LONGEST = 2**40
"""Milliseconds for a value that is to last for ever."""

# What to do about each of the client's exceptions, by its name: the packages redis and valkey use the same names.
_ADVICE = {
    "AuthenticationError": "it does not take the name or the password: see its ACL, and the URL",
    "AuthorizationError": "it does not take the name or the password: see its ACL, and the URL",
    "BusyLoadingError": "it is loading its data after a start, which passes",
    "ClusterDownError": "its cluster is down: see CLUSTER INFO",
    "MasterDownError": "it is a replica that has lost its master",
    "MaxConnectionsError": "the client that was given has no connection left: give it a pool of its own",
    "NoPermissionError": "its ACL does not let this user do that, who needs eval, get, set, del, time and publish on "
    "the keys and the channels that begin with the prefix",
    "OutOfMemoryError": "its memory is full (maxmemory): give it more, or a policy that evicts",
    "ReadOnlyError": "it is a read-only replica: give the address of the master, or a client that asks Sentinel",
    "TimeoutError": "it did not answer in time: it is stopped, busy, or not to be reached",
    "ConnectionError": "it cannot be reached: see whether it runs, and whether host, port and TLS are right",
}
# What went wrong within a script is told by a word in the error's text, in some releases after a minus sign.
_BY_WORD = {
    "BUSY": "it is busy with a script: see SCRIPT KILL",
    "MISCONF": "it cannot save its data, and so takes none: see its log",
    "NOREPLICAS": "it has too few replicas to take data (min-replicas-to-write)",
    "OOM": _ADVICE["OutOfMemoryError"],
    "READONLY": _ADVICE["ReadOnlyError"],
    "WRONGTYPE": "another program has put something else under this key: use another prefix",
    "user executing the script can't": _ADVICE["NoPermissionError"],
    "ACL failure in script": _ADVICE["NoPermissionError"],
}


class RedisStore(Unpicklable):
    """A store in Redis 6 or later, or in Valkey: for all processes that reach it.

    Args:
        url: ``redis://``, ``rediss://`` (TLS) or ``unix://``, as ``redis.Redis.from_url`` takes it; or a client of the
            ``redis`` package that is ready to use, such as one for Sentinel (``sentinel.master_for(...)``) or for a
            cluster (``RedisCluster(...)``). Such a client should not retry by itself, must not decode answers, and
            stays yours to close.
        prefix: what keys and channels begin with.
        ssl_context: for ``rediss://``, with client certificates or authorities of your own.

    To make a store connects to nothing, and may be done before a fork. Two stores are equal if their URL (or client),
    prefix and ``ssl_context`` are the same.

    **Each step is one script of one key**, so that it is atomic, and safe in a cluster. Time and expiry are the
    server's. ``publish`` tells whoever waits of a change; whoever may not subscribe looks again after a while.

    **Trouble**, where the server is down, slow, loading, read-only or full, or does not allow something, is raised as
    :class:`~evertoken.sharing.StoreTrouble`, within the time that the caller has. Its text says what to do, and shows
    no password.

    **Least rights**: ``+eval +get +set +del +time +publish +subscribe``, on the keys and the channels that begin with
    ``prefix:``.

    Raises:
        TypeError, ValueError: an argument is wrong. No text shows the URL, which may hold a password.
        ImportError: ``redis`` is not installed, and a URL is given.
    """

    _where = _prefix = "?"

    def __init__(self, url: Any, prefix: str = "evertoken", ssl_context: ssl.SSLContext | None = None) -> None:  # noqa: ANN401 (of redis, valkey or like them)
        if not isinstance(prefix, str) or not prefix or not prefix.isascii() or not prefix.isprintable():
            raise ValueError("prefix must be a text of visible ASCII characters")
        if ssl_context is not None and not isinstance(ssl_context, ssl.SSLContext):
            raise TypeError(f"ssl_context must be an ssl.SSLContext, not {type(ssl_context).__name__}")
        self._prefix, self._ssl_context = prefix, ssl_context
        self._url: str = url if isinstance(url, str) else ""
        self._given: Any = None if isinstance(url, str) else url
        self._where = _checked_url(url, ssl_context) if isinstance(url, str) else _checked_client(url, ssl_context)
        del url
        self._own: Any = None
        self._pid = 0

    def __repr__(self) -> str:
        return f"<RedisStore at {self._where}, prefix {self._prefix!r}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RedisStore) and self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())

    def load(self, key: str, /, *, timeout: float) -> Found:
        """What stands under ``key``. See :class:`evertoken.sharing.Store`.

        Raises:
            StoreTrouble: the server did not answer in time, or not as it should.
            ValueError: ``key`` is not 64 hexadecimal digits.
        """
        found, _ = self._done(timeout, LOAD, key)
        return found

    def swap(
        self,
        key: str,
        expected: bytes | None,
        value: bytes | None,
        /,
        *,
        lasts: float,
        holder: str = "",
        timeout: float,
    ) -> Swapped:
        """Replace ``expected`` by ``value``. See :class:`evertoken.sharing.Store`.

        Raises:
            StoreTrouble: the server did not answer in time, or not as it should.
            ValueError: ``key`` is not 64 hexadecimal digits.
        """
        del holder  # Redis cannot tell whether a process lives.
        for_ms = _LONGEST if math.isinf(lasts) else min(max(1, math.ceil(lasts * 1000)), _LONGEST)
        given = [b"0" if expected is None else b"1", expected or b"", b"0" if value is None else b"1", value or b""]
        found, (done, *_) = self._done(timeout, _SWAP, key, *given, for_ms)
        return Swapped(bool(done), found)

    def subscribe(self, key: str, callback: Callable[[], None], /) -> Callable[[], None] | None:
        """Have ``callback`` called after the value of ``key`` changes. See :class:`evertoken.sharing.Store`.

        Returns what ends the subscription; None if no thread can be started to listen.
        """
        ended, name = threading.Event(), name_of(self._prefix, key)
        return ended.set if start_thread("evertoken-listener", self._listen, name, callback, ended) else None

    def close(self) -> None:
        """Close the connections that this process has made from a URL. A client that was given stays open."""
        own, self._own = self._own, None
        if own is not None and self._pid == os.getpid():
            own.close()

    def _identity(self) -> tuple[object, ...]:
        return self._url or id(self._given), self._prefix, id(self._ssl_context)

    def _client(self) -> Any:  # noqa: ANN401
        """The client that was given; else one of this very process, since a forked child shares the connections."""
        if self._given is not None:
            return self._given
        if self._own is None or self._pid != os.getpid():
            self._own, self._pid = _made_client(self._url, self._ssl_context), os.getpid()
        return self._own

    def _done(self, timeout: float, script: str, key: str, *arguments: object) -> tuple[Found, list[Any]]:
        """What ``script`` returned. It runs in a thread, so that ``timeout`` holds whatever the client does.

        Where no thread can be started it runs here, for as long as the client takes.
        """
        name = name_of(self._prefix, key)
        try:
            client = self._client()
            work = OwnThread().submit(lambda: client.eval(script, 1, name, *arguments))
            answer = work.result(timeout)
            return found_in(answer), list(answer)
        except Exception as error:  # noqa: BLE001 (whatever a client raises, its user is told by one exception)
            why = _ADVICE["TimeoutError"] if isinstance(error, TimeoutError) else _why(error)
        raise StoreTrouble(f"the shared store, Redis at {self._where}, is of no use just now: {why}")

    def _listen(self, name: str, callback: Callable[[], None], ended: threading.Event) -> None:
        """Call ``callback`` for each message on the channel ``name``, until ``ended``.

        A connection that is lost is made again after a second. Messages that are missed cost the time until the next
        look.
        """
        while not ended.is_set():
            try:
                with self._client().pubsub(ignore_subscribe_messages=True) as channel:
                    channel.subscribe(name)
                    while not ended.is_set():
                        if channel.get_message(timeout=0.25) is not None:
                            callback()
            except Exception as error:  # noqa: BLE001
                if _kind(error) == "NoPermissionError":
                    return
                ended.wait(1.0)


def _made_client(url: str, ssl_context: ssl.SSLContext | None) -> Any:  # noqa: ANN401
    """A client of our own. It does not retry, since a swap that is made twice would find its own value, and fail."""
    import redis  # noqa: PLC0415 (an extra)
    from redis import connection  # noqa: PLC0415
    from redis.backoff import NoBackoff  # noqa: PLC0415
    from redis.retry import Retry  # noqa: PLC0415

    options: dict[str, Any] = {"protocol": 2, "socket_timeout": _PATIENCE, "socket_connect_timeout": _PATIENCE}
    options |= cast("Any", connection).parse_url(url) | {"retry": Retry(NoBackoff(), 0)}
    if ssl_context is not None:
        options["connection_class"] = _tls_connection(ssl_context)
    return redis.Redis.from_pool(redis.ConnectionPool(**options))  # Made so, it closes its pool when it is closed.


def _tls_connection(ssl_context: ssl.SSLContext) -> type:
    """A class of connections that use TLS by ``ssl_context``. The client itself takes options, but no context."""
    from redis.connection import Connection  # noqa: PLC0415

    class TlsConnection(Connection):
        def _connect(self) -> Any:  # noqa: ANN401
            line = cast("Any", super())._connect()  # noqa: SLF001 (the client has no other place to wrap a socket)
            try:
                return ssl_context.wrap_socket(line, server_hostname=self.host)
            except BaseException:
                line.close()
                raise

    return TlsConnection


def _checked_url(url: str, ssl_context: ssl.SSLContext | None) -> str:
    """Where ``url`` leads, without name and password.

    Raises:
        ValueError: ``url`` cannot be used. The text does not show it.
        ImportError: ``redis`` is not installed.
    """
    if find_spec("redis") is None:
        raise ImportError(
            "RedisStore needs redis. To install: pip install redis "
            "(or, in a checkout of evertoken, pip install '.[redis]')"
        )
    import_module("redis")  # Half a second, which the first request for a token must not pay.
    try:
        parts = urlsplit(url)
        host, port, options = parts.hostname, parts.port, parse_qs(parts.query)
    except ValueError:
        parts, host, port, options = None, None, None, {}
    del url
    if parts is None or parts.scheme not in ("redis", "rediss", "unix"):
        raise ValueError("url must be redis://HOST:PORT/DB, rediss://HOST:PORT/DB or unix:///PATH")
    if "decode_responses" in options:
        raise ValueError("url must not have decode_responses: what is stored are bytes")
    if ssl_context is not None and parts.scheme != "rediss":
        raise ValueError("ssl_context needs a url that begins with rediss://")
    if parts.scheme == "unix":
        return parts.path
    return f"{host or 'localhost'}:{port or 6379}{'' if parts.path in ('', '/') else parts.path}"


def _checked_client(client: Any, ssl_context: ssl.SSLContext | None) -> str:  # noqa: ANN401
    """What people are told of where ``client`` leads. Raises TypeError or ValueError if it cannot be used."""
    kind = f"{type(client).__module__}.{type(client).__qualname__}"
    if isinstance(client, type) or not all(callable(getattr(client, name, None)) for name in ("eval", "pubsub")):
        raise TypeError(f"url must be a URL or a client of the redis package, not {kind}")
    if iscoroutinefunction(getattr(client, "execute_command", None)):
        raise TypeError(f"url must be a URL or a client that blocks, not {kind}: it is called in threads of its own")
    if ssl_context is not None:
        raise ValueError("ssl_context goes with a URL; a client has its own")
    if getattr(client.get_encoder(), "decode_responses", False):
        raise ValueError("the client must be made with decode_responses=False: what is stored are bytes")
    options = getattr(getattr(client, "connection_pool", None), "connection_kwargs", {})
    return f"{options['host']}:{options.get('port', 6379)}" if "host" in options else f"what {kind} knows"


def _kind(error: BaseException) -> str:
    return next((kind.__name__ for kind in type(error).__mro__ if kind.__name__ in _ADVICE), "")


def _why(error: Exception) -> str:
    """What is wrong, and what to do. The text of ``error`` itself is not shown, since it may quote what was sent."""
    text = str(error)
    for word, advice in _BY_WORD.items():
        if re.search(rf"(^|[ -]){word}\b", text):
            return advice
    if _kind(error):
        return f"{_ADVICE[_kind(error)]} ({type(error).__name__})"
    if type(error).__module__.partition(".")[0] in ("redis", "valkey") or isinstance(error, OSError):
        return f"the client raised {type(error).__name__}"
    return f"a bug, not weather: {place_of(error)}"
