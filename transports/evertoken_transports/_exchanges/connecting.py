"""What all ways of connecting have in common: what is refused beforehand, and what people are told when it fails.

TLS failures are failures of transport, and their text says so: nobody may take them for refused credentials.
"""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Sequence

from evertoken._checks import is_loopback, simulated_hosts
from evertoken_transports._blame import is_bug, place_of
from evertoken_transports._clock import Clock, suspend_aware_clock
from evertoken_transports._exchange import ExchangeBroken, ExchangeFailed
from evertoken_transports._exchanges.target import Target

HANDSHAKE = "during the TLS handshake"
"""The stage between connecting and sending."""
WAITING = "while waiting for the answer"
"""The stage between sending and the first byte."""

PIECE = 16 * 1024
"""Bytes asked of a connection at a time: what one TLS record holds."""

_OTHER_NAME = {62, 64}
"""OpenSSL's verify codes for a certificate of another host name or another address."""
_UNKNOWN_ISSUER = {2, 18, 19, 20, 21}
"""... and for a chain that ends in nobody whom this machine trusts."""

_PRIVATE_CA = "if it is a private CA, pass ssl_context=ssl.create_default_context(cafile=...)"
_CLIENT_CERTIFICATE = "pass ssl_context= with a client certificate (SSLContext.load_cert_chain)"
_BROKEN_OFF = (
    f"the server broke off the handshake; if it wants a client certificate, {_CLIENT_CERTIFICATE}; "
    "else there is no cipher that both sides accept"
)

# Parts of OpenSSL's reasons, the first that fits.
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
    """What every exchange over sockets of its own is made with; each says what its arguments are."""

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
    """Raise ValueError, naming the argument, unless an exchange can work with this."""
    if not isinstance(ssl_context, ssl.SSLContext | None):
        raise ValueError(f"ssl_context must be an ssl.SSLContext or None, not {type(ssl_context).__name__}")


def default_ssl_context() -> ssl.SSLContext:
    """The default of Python's own: certificates and host names are verified. It offers HTTP/1.1 and nothing else."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


def check_alpn(protocol: str | None) -> None:
    """Raise ExchangeFailed if the server chose a protocol that h11 does not speak: an embedder's context offered it."""
    if protocol not in (None, "http/1.1"):
        raise ExchangeFailed(f"the server chose the protocol {protocol!r}: let ssl_context offer http/1.1 only (ALPN)")


def refuse_unsafe(target: Target, *, trust_env: bool) -> None:
    """Raise ExchangeFailed where the secret would travel in clear, or around a proxy that is configured for ``target``.

    A proxy is the operator's word on how this machine reaches others. Loopback is not another machine, and the host of
    a simulated network is none at all: whether it is one will be seen when there is a connection.
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
    """The proxy that environment or system name for ``target``, as it is written there: perhaps with a password."""
    from urllib.request import getproxies, proxy_bypass  # noqa: PLC0415 (it imports much, and few need it)

    proxies = getproxies()
    proxy = proxies.get(target.scheme) or proxies.get("all")
    return proxy if proxy and not proxy_bypass(target.authority) else None


def failure_of(error: Exception, target: Target, stage: str) -> ExchangeFailed:
    """What an exchange raises for ``error``, which came up at ``stage``: without its frames, and without its text."""
    if isinstance(error, ExchangeFailed):
        return error.with_traceback(None)
    if isinstance(error, OSError | UnicodeError):
        return explained(error, target, stage)
    if is_bug(error):
        return ExchangeBroken(place_of(error))
    return ExchangeFailed(f"{type(error).__name__} {stage} ({target.authority})")


def explained(error: OSError | UnicodeError, target: Target, stage: str) -> ExchangeFailed:
    """The failure to be raised for ``error``, which came up at ``stage`` ("while connecting").

    Of what the other side sent, nothing is in its text: only OpenSSL's own reasons and the operating system's.
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
    """The failure to be raised where no address took a connection. Each comes with what became of it."""
    each = "; ".join(f"{address}: {reason_of(error)}" for address, error in failures)
    return ExchangeFailed(f"no connection to {target.authority} ({each})")


def reason_of(error: Exception) -> str:
    """The operating system's words for ``error``, without its number; what else it says may be the other side's."""
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, UnicodeError):
        return "it is not a host name"
    if isinstance(error, socket.gaierror) and error.strerror:
        return error.strerror
    if isinstance(error, OSError) and error.errno is not None and not isinstance(error, ssl.SSLError):
        return os.strerror(error.errno)
    return type(error).__name__


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
