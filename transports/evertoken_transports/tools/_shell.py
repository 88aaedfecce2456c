"""``evertoken token``, ``header``, ``status`` and ``unblock``: for shells, cron jobs and other languages.

Each run is a process of its own, so all of them share by a store. Most runs find a token there, and end. What these
need is imported from private modules, which takes a third of the time that the whole library does; everything else is
imported where it is needed.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from evertoken._grant import BasicAuthentication, ClientCredentials, TokenEndpoint
from evertoken._policy import Policy
from evertoken._problems import CredentialsRefused, EndpointLocked, RateLimited, TokenUnavailable, unavailable
from evertoken.mangopay import production, sandbox
from evertoken.sharing._codec import key_of
from evertoken.sharing._glance import glance
from evertoken.sharing._record import Closed
from evertoken.sharing._store import Cipher, Found, Store, StoreTrouble
from evertoken_transports._clock import suspend_aware_clock

if TYPE_CHECKING:
    import ssl

    from evertoken import HttpResponse, TokenRequest
    from evertoken.sharing import Status
    from evertoken_transports import Event

_REFUSED, _LOCKED, _LIMITED, _LATER = 3, 4, 5, 75
_PATIENCE = 2.0
"""Seconds for one look into the store."""
_LAST_WORDS = 5.0
"""Seconds that a run goes on, at most, for what is still to be written into the store when it has its answer."""

_PROFILES = {"mangopay-sandbox": sandbox, "mangopay-production": production}

STATUSES = """\
The client id and the API key (or secret) come from EVERTOKEN_CLIENT_ID and EVERTOKEN_API_KEY, or from the files that
EVERTOKEN_CLIENT_ID_FILE and EVERTOKEN_API_KEY_FILE name; what is in neither is read from standard input, a line each.
Keys of a store that is encrypted come from EVERTOKEN_STORE_KEYS, with commas, or from EVERTOKEN_STORE_KEYS_FILE.

exit status: 0 if it went well, 2 for wrong usage or a missing library, 3 if the credentials or the request were
refused, 4 if the account or this address is locked, 5 if the rate limit is reached, 75 to try again later, 130 if
interrupted, 1 if what was found could not be written to standard output, as where the disk is full"""


class UsageError(Exception):
    """What is wrong with how the command was called, for people."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of all commands that ask for a token, or look at one."""
    add = parser.add_argument
    parser.epilog = STATUSES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    add("--profile", choices=sorted(_PROFILES), help="whose token endpoint is asked")
    add(
        "--url",
        help="the token endpoint; with a profile, another host for it, such as an emulator. Alone it is any RFC 6749"
        " endpoint, whose token is another one in the store than that of a profile at the same host",
    )
    add(
        "--encoding",
        choices=("raw", "rfc6749"),
        help="how HTTP Basic spells the credentials: as they stand, or percent-encoded (default: raw with a profile,"
        " rfc6749 without). Programs that share the store must say the same",
    )
    add("--scope", help="space-separated scopes, if the endpoint wants any")
    add("--mtls-cert", metavar="FILE", help="client certificate, PEM; with a profile this asks its mTLS host")
    add("--mtls-key", metavar="FILE", help="its private key, PEM, if it is not in the same file")
    add(
        "--store",
        metavar="PLACE",
        help="a folder, or redis://…, rediss://…, unix:///SOCKET (default: this user's own folder)",
    )
    add("--timeout", type=_seconds, default=None, help="seconds to wait for a token (default: 20)")


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 2**31:
        raise argparse.ArgumentTypeError(f"must be a number of seconds above 0, not {text!r}")
    return seconds


# What is given
# -------------


def grant_of(options: argparse.Namespace) -> ClientCredentials:
    """The grant that the arguments name, with the credentials of the environment or of standard input.

    Raises:
        UsageError: an argument or a credential is missing or wrong.
    """
    if options.profile is None and options.url is None:
        raise UsageError(f"say whom to ask, by --profile ({', '.join(sorted(_PROFILES))}) or --url URL")
    return grant_for(options, _given("EVERTOKEN_CLIENT_ID", "client id"), _given("EVERTOKEN_API_KEY", "API key"))


def grant_for(options: argparse.Namespace, client_id: str, secret: str) -> ClientCredentials:
    """The grant that the arguments name, with these credentials. Raises :class:`UsageError`."""
    try:
        if options.profile is None:
            endpoint, api_base = TokenEndpoint(options.url), None
        else:
            url = None if options.url is None else options.url.removesuffix("/").removesuffix("/oauth/token")
            made = _PROFILES[options.profile](client_id, secret, mtls=options.mtls_cert is not None, base_url=url)
            endpoint, api_base = made.endpoint, made.api_base
        if options.encoding is not None:
            endpoint = TokenEndpoint(endpoint.url, BasicAuthentication(options.encoding), endpoint.profile)
        return ClientCredentials(endpoint, client_id, secret, scope=options.scope, api_base=api_base)
    except ValueError as error:
        fault = str(error)
    raise UsageError(fault)


def _given(name: str, what: str) -> str:
    """What the environment, a file that it names, or standard input says. Arguments would be seen by other users."""
    value = _from_environment(name, what)
    if value:
        return value
    line = "" if sys.stdin is None or sys.stdin.isatty() else sys.stdin.readline().rstrip("\r\n")
    if not line:
        raise UsageError(f"there is no {what}: set {name} or {name}_FILE, or give it on standard input")
    return line


def keys_of_store() -> list[str]:
    """The keys by which the store is encrypted; none where it is not. Raises :class:`UsageError`."""
    told = _from_environment("EVERTOKEN_STORE_KEYS", "keys of the store")
    if told is None:
        return []
    keys = [key for key in (each.strip() for each in told.replace("\n", ",").split(",")) if key]
    if not keys:  # Whoever has lost the keys, and not the variable, would else write the token in clear.
        raise UsageError("EVERTOKEN_STORE_KEYS is set, and holds no key: unset it where the store is not encrypted")
    try:
        cipher_of(keys)
    except (ImportError, TypeError, ValueError) as error:
        fault = str(error)
    else:
        return keys
    raise UsageError(f"EVERTOKEN_STORE_KEYS: {fault}")


def cipher_of(keys: list[str]) -> Cipher | None:
    """The cipher that encrypts by ``keys``; None if there are no keys."""
    if not keys:
        return None
    from evertoken_transports.stores._cipher import made_cipher  # noqa: PLC0415

    return made_cipher(keys)


def _from_environment(name: str, what: str) -> str | None:
    value, file = os.environ.get(name), os.environ.get(f"{name}_FILE")
    if value and file:
        raise UsageError(f"{name} and {name}_FILE are both set: unset one")
    if file:
        try:
            with open(file, encoding="utf-8") as opened:  # noqa: PTH123 (pathlib costs time)
                return opened.read().rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            why = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else "it is not UTF-8"
        raise UsageError(f"the {what} cannot be read from {file}, which {name}_FILE names: {why}")
    return value


def store_of(options: argparse.Namespace) -> Store:
    """The store in which the token is shared. Raises :class:`UsageError`."""
    try:
        if options.store is not None and "://" in options.store:
            from evertoken_transports.stores.redis import RedisStore  # noqa: PLC0415

            return RedisStore(options.store)
        from evertoken_transports.stores.file import FileStore  # noqa: PLC0415

        return FileStore(options.store)
    except (ImportError, TypeError, ValueError) as error:
        fault = str(error)
    raise UsageError(f"--store: {fault}")


def ssl_context_of(options: argparse.Namespace) -> ssl.SSLContext | None:
    """A context with the client certificate that is given, None if none is. Raises :class:`UsageError`."""
    if options.mtls_cert is None:
        if options.mtls_key is not None:
            raise UsageError("--mtls-key goes with --mtls-cert")
        return None
    import ssl  # noqa: PLC0415 (not needed where a token is found)

    context = ssl.create_default_context()
    try:
        # A key with a password would be asked for at the terminal, and nobody may be there.
        context.load_cert_chain(options.mtls_cert, options.mtls_key, password=lambda: "")
    except (OSError, ValueError) as error:
        files = " and ".join(filter(None, (options.mtls_cert, options.mtls_key)))
        why = (
            os.strerror(error.errno)
            if type(error) in (FileNotFoundError, PermissionError, IsADirectoryError)
            and (isinstance(error, OSError) and error.errno)
            else "they are no certificate and its key in PEM, without a password"
        )
        raise UsageError(f"the client certificate cannot be loaded from {files}: {why}") from None
    return context


# What is done
# ------------


def _token(options: argparse.Namespace) -> int:
    return _told(options, lambda header: header.partition(" ")[2])


def _header(options: argparse.Namespace) -> int:
    return _told(options, lambda header: header)


def _told(options: argparse.Namespace, show: Callable[[str], str]) -> int:
    grant, context, keys = grant_of(options), ssl_context_of(options), keys_of_store()
    try:
        header = _found(options, grant, keys)
        if header is None:
            header = _asked(options, grant, context, keys)
    except StoreTrouble as trouble:
        return _complained(str(trouble), _LATER)
    except _Unavailable as error:
        return _complained(*error.args)
    print(show(header), flush=True)
    return 0


class _Unavailable(Exception):
    """There is no token. The arguments are the reason, and the exit status."""


def _found(options: argparse.Namespace, grant: ClientCredentials, keys: list[str]) -> str | None:
    """The Authorization value of the token in the store; None if one is to be asked for.

    Raises:
        _Unavailable: the store shows a block that stands.
        StoreTrouble: the store cannot be reached. The endpoint is not asked then, since a loop of runs, none of which
            knows of the others, would ask each time.
    """
    key = key_of(grant)
    began = suspend_aware_clock()
    found = _quickly_found(options.store, key)
    if found is None:
        began = suspend_aware_clock()
        found = store_of(options).load(key, timeout=_PATIENCE)
    now = suspend_aware_clock()
    seen = glance(grant, Policy(), key, found, began=began, now=now, unix_time=time.time(), cipher=cipher_of(keys))
    if isinstance(seen, Closed):
        error = unavailable(seen.problem, seen.ends - found.now)
        raise _Unavailable(str(error), _status_of(error))
    return None if seen is None else seen.authorization


def _quickly_found(place: str | None, key: str) -> Found | None:
    """What stands in Redis, if that can be had without the client library, which takes half a second to import."""
    if place is None or "://" not in place:
        return None
    from evertoken_transports.stores._redis_look import look  # noqa: PLC0415

    return look(place, key, timeout=_PATIENCE / 2)


def _asked(
    options: argparse.Namespace, grant: ClientCredentials, context: ssl.SSLContext | None, keys: list[str]
) -> str:
    """The Authorization value of a token for which this process, or another one, asks now."""
    from evertoken_transports import StoreReported  # noqa: PLC0415
    from evertoken_transports.threads import TokenSource  # noqa: PLC0415

    notes = list[str]()

    def note(event: Event) -> None:
        if isinstance(event, StoreReported):
            notes.append(event.note)

    def ask(request: TokenRequest) -> HttpResponse:
        from evertoken_transports.h11 import H11Exchange  # noqa: PLC0415 (not needed where a block is found)

        return H11Exchange(ssl_context=context)(request)

    store = store_of(options)
    try:
        with TokenSource(
            grant, exchange=ask, store=store, keys=keys, store_required=True, background=False, on_event=note
        ) as source:
            return source.authorization(options.timeout)
    except TokenUnavailable as error:
        # When this process would ask again does not hold for the next run, which learns only what the store keeps.
        why, status = str(error.problem if notes else error), _status_of(error)
        why = " ".join((why, *[note for note in notes if note.casefold() not in why.casefold()]))
    finally:
        let_write()
    raise _Unavailable(why, status)


def _status_of(error: TokenUnavailable) -> int:
    kinds = {CredentialsRefused: _REFUSED, EndpointLocked: _LOCKED, RateLimited: _LIMITED}
    return next((status for kind, status in kinds.items() if isinstance(error, kind)), _LATER)


def let_write() -> None:
    """Wait for what is still written into the store: this process must not end in the midst of it."""
    for thread in threading.enumerate():
        if thread.name == "evertoken-store":
            thread.join(_LAST_WORDS)


def _unblock(options: argparse.Namespace) -> int:
    grant, store, keys = grant_of(options), store_of(options), keys_of_store()
    from evertoken_transports.stores.exchange import SharedExchange  # noqa: PLC0415

    try:
        status = _standing(grant, store, keys)
        SharedExchange(_nobody, store, keys=keys).unblock(grant)
    except StoreTrouble as trouble:
        return _complained(str(trouble), _LATER)
    if status.is_open:
        print(f"nothing was blocked in {store!r}")
    else:
        print(f"unblocked: whoever shares by {store!r} asks again within a minute")
    return 0


def _nobody(_: TokenRequest) -> HttpResponse:
    raise RuntimeError("a bug in evertoken: to lift a block asks no endpoint")


def _status(options: argparse.Namespace) -> int:
    grant, store, keys = grant_of(options), store_of(options), keys_of_store()
    try:
        status = _standing(grant, store, keys)
    except StoreTrouble as trouble:
        return _complained(str(trouble), _LATER)
    print(f"client: {grant.client_id} at {grant.endpoint.url}")
    print(f"store: {store!r}, key {key_of(grant)[:12]}…")
    print(status)
    return 0


def _standing(grant: ClientCredentials, store: Store, keys: list[str]) -> Status:
    """What the store holds. Raises :class:`StoreTrouble`."""
    from evertoken.sharing._status import status_of  # noqa: PLC0415 (not needed for a token)

    key = key_of(grant)
    return status_of(grant, Policy(), key, store.load(key, timeout=_PATIENCE), cipher_of(keys))


def _complained(text: str, status: int) -> int:
    print(f"evertoken: {text}", file=sys.stderr)
    return status


COMMANDS = {"token": _token, "header": _header, "status": _status, "unblock": _unblock}
