"""What all exchanges have in common: what they refuse before they connect, and what people are told of a failure.

Failures of TLS are failures of transport, and their texts say so, so that nobody takes them for refused credentials.
"""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Sequence

from evertoken._checks import is_loopback, simulated_hosts
from evertoken_transports._blame import causes_of, is_bug, name_of, place_of
from evertoken_transports._clock import Clock, suspend_aware_clock
from evertoken_transports._exchange import ExchangeBroken, ExchangeFailed
from evertoken_transports._exchanges.target import Target

HANDSHAKE = "during the TLS handshake"
"""The stage between connecting and sending."""
WAITING = "while waiting for the answer"
"""The stage between sending and the first byte."""

PIECE = 16 * 1024
"""Bytes that are read from a connection at a time: as many as one TLS record holds."""

_OTHER_NAME = {62, 64}
"""OpenSSL's verify codes for a certificate of another host name or another address."""
_UNKNOWN_ISSUER = {2, 18, 19, 20, 21}
"""OpenSSL's verify codes for a chain of certificates that does not end in an authority which this machine trusts."""

_PRIVATE_CA = "if it is a private CA, pass ssl_context=ssl.create_default_context(cafile=...)"
_CLIENT_CERTIFICATE = "pass ssl_context= with a client certificate (SSLContext.load_cert_chain)"
_BROKEN_OFF = (
    f"the server broke off the handshake; if it wants a client certificate, {_CLIENT_CERTIFICATE}; "
    "else there is no cipher that both sides accept"
)

# What OpenSSL's reasons mean. The first row counts whose left side is a part of the reason.
_TLS_REASONS = (
    ("CERTIFICATE_REQUIRED", f"the server wants a client certificate and got none: {_CLIENT_CERTIFICATE}"),
    ("ALERT_CERTIFICATE_EXPIRED", "the server refused our client certificate, because it has expired"),
    ("ALERT_CERTIFICATE_REVOKED", "the server refused our client certificate, because it was revoked"),
    ("ALERT_UNKNOWN_CA", "the server refused our client certificate, because it does not trust its issuer"),
    ("ALERT_BAD_CERTIFICATE", "the server refused our client certificate"),
    (
        "ALERT_UNSUPPORTED_CERTIFICATE",
        "the server refused our client certificate, because it is not of a kind it takes",
    ),
    ("ALERT_CERTIFICATE_UNKNOWN", "the server refused our client certificate"),
    ("ALERT_HANDSHAKE_FAILURE", _BROKEN_OFF),
    ("PROTOCOL_VERSION", "there is no TLS version that both sides accept"),
    ("UNSUPPORTED_PROTOCOL", "there is no TLS version that both sides accept"),
    ("WRONG_VERSION_NUMBER", "the server does not speak TLS on this port"),
    ("HTTP_REQUEST", "the server does not speak TLS on this port"),
    ("RECORD_LAYER_FAILURE", "the server does not speak TLS on this port"),
    ("UNRECOGNIZED_NAME", "the server does not serve this host name"),
    ("EOF", f"the server hung up; it may want a client certificate: {_CLIENT_CERTIFICATE}"),
)


class Configured:
    """The base of the exchanges over sockets of their own: their common arguments, which each of them explains."""

    def __init__(
        self,
        *,
        ssl_context: ssl.SSLContext | None = None,
        trust_env: bool = True,
        clock: Clock = suspend_aware_clock,
    ) -> None:
        check_context(ssl_context)
        self._ssl_context = ssl_context
        self._trust_env = trust_env
        self._clock = clock


def check_context(ssl_context: object) -> None:
    """Raise ValueError, which names the argument, unless ``ssl_context`` is an ``ssl.SSLContext`` or None."""
    if not isinstance(ssl_context, ssl.SSLContext | None):
        raise ValueError(f"ssl_context must be an ssl.SSLContext or None, not {type(ssl_context).__name__}")


def default_ssl_context() -> ssl.SSLContext:
    """Python's default context, which verifies certificates and host names. It offers HTTP/1.1 alone (ALPN)."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


def check_alpn(protocol: str | None) -> None:
    """Raise ExchangeFailed if the server chose a protocol other than HTTP/1.1, which an embedder's context offers."""
    if protocol not in (None, "http/1.1"):
        raise ExchangeFailed(f"the server chose the protocol {protocol!r}: let ssl_context offer http/1.1 only (ALPN)")


def refuse_unsafe(target: Target, *, trust_env: bool) -> None:
    """Raise ExchangeFailed where the secret would travel in clear, or around a proxy that is configured for ``target``.

    The operator configures a proxy for the way to other machines, so a request to this one need not go by it. A host of
    ``simulated_hosts`` passes, too: :func:`.addresses.refuse_to_leave` checks its connection when there is one.
    """
    if is_loopback(target.host) or (target.scheme == "http" and target.host in simulated_hosts):
        return
    if target.scheme != "https":
        raise ExchangeFailed(
            f"plain http to {target.authority} is refused: the secret would travel in clear; use https"
        )
    if trust_env and proxy_for(target) is not None:
        raise ExchangeFailed(
            f"a proxy is configured for {target.authority}, and h11 does not go through proxies: use "
            f"evertoken_transports.httpx, or add {target.host} to NO_PROXY, or pass trust_env=False to go around it"
        )


def proxy_for(target: Target) -> str | None:
    """The proxy that the environment or the system names for ``target``, as written there: it may hold a password."""
    from urllib.request import getproxies, proxy_bypass  # noqa: PLC0415 (it imports much, and few need it)

    proxies = getproxies()
    proxy = proxies.get(target.scheme) or proxies.get("all")
    return proxy if proxy and not proxy_bypass(target.authority) else None


def failure_of(error: Exception, target: Target, stage: str) -> ExchangeFailed:
    """What an exchange raises for ``error``, which came up at ``stage``.

    An ExchangeFailed loses its frames, and keeps its text. Any other error is replaced, since its frames and its text
    may show the client's secret, or what the server sent.
    """
    if isinstance(error, ExchangeFailed):
        return error.with_traceback(None)
    if isinstance(error, OSError | UnicodeError):
        return explained(error, target, stage)
    if is_bug(error):
        return ExchangeBroken(place_of(error))
    return ExchangeFailed(f"{type(error).__name__} {stage} ({target.authority})")


def explained(error: OSError | UnicodeError, target: Target, stage: str) -> ExchangeFailed:
    """The failure to be raised for ``error``, which came up at ``stage``, as in "while connecting".

    Its text quotes only the reasons of OpenSSL and of the operating system, and nothing that the other side sent.
    """
    if isinstance(error, ssl.SSLCertVerificationError):
        return ExchangeFailed(f"TLS: the certificate of {target.authority} was refused: {_certificate_flaw(error)}")
    if isinstance(error, ssl.SSLError):
        return ExchangeFailed(f"TLS with {target.authority} failed {stage}: {_tls_flaw(error)}")
    if isinstance(error, TimeoutError):
        return ExchangeFailed(f"time ran out {stage} ({target.authority})")
    if isinstance(error, socket.gaierror | UnicodeError):
        return ExchangeFailed(f"the host name {target.host} was not resolved: {reason_of(error)}")
    hint = ""
    if isinstance(error, ConnectionError) and target.scheme == "https" and stage in (HANDSHAKE, WAITING):
        hint = f"; the server may want a client certificate: {_CLIENT_CERTIFICATE}"
    return ExchangeFailed(f"{reason_of(error)} {stage} ({target.authority}){hint}")


def no_connection(target: Target, failures: Sequence[tuple[str, Exception]]) -> ExchangeFailed:
    """The failure to be raised where no address took a connection. ``failures`` holds each address and its error."""
    each = "; ".join(f"{address}: {reason_of(error)}" for address, error in failures)
    return ExchangeFailed(f"no connection to {target.authority} ({each})")


def reason_of(error: Exception) -> str:
    """What the operating system says of ``error``, without its number; the type of any other error.

    Other texts are left out, since they may quote what the other side sent.
    """
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, UnicodeError):
        return "it is not a host name"
    if isinstance(error, socket.gaierror) and error.strerror:
        return error.strerror
    if isinstance(error, OSError) and error.errno is not None and not isinstance(error, ssl.SSLError):
        return os.strerror(error.errno)
    return type(error).__name__


def told_of(error: BaseException) -> str:
    """What people are told of ``error``, which other code has raised: its type, and why the operating system failed it.

    Its text is left out, since it may quote a secret, or an answer with a token in it.
    """
    name = name_of(type(error))
    system = next((cause for cause in causes_of(error) if isinstance(cause, OSError) and cause.errno is not None), None)
    return name if system is None else f"{name}: {reason_of(system)}"


def _certificate_flaw(error: ssl.SSLCertVerificationError) -> str:
    said = error.verify_message.rstrip(".")
    if error.verify_code in _OTHER_NAME:
        return f"wrong host name ({said})"
    if error.verify_code in _UNKNOWN_ISSUER:
        return f"untrusted issuer ({said}); {_PRIVATE_CA}"
    return said


def _tls_flaw(error: ssl.SSLError) -> str:
    reason = str(error.reason or type(error).__name__)
    known = reason.upper().replace(" ", "_")
    meaning = next((text for part, text in _TLS_REASONS if part in known), None)
    return f"{meaning} ({reason})" if meaning else reason
