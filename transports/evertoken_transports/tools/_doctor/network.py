"""The way to the token endpoint, step by step, by a connection that carries no credentials and asks for no token.

Under TLS 1.3 a server says only after the handshake that it does not take our certificate. So a request is made on the
connection, ``HEAD /``: it costs the account nothing, and its answer shows the server's clock as well.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import NamedTuple
from urllib.parse import urlsplit

from evertoken import HttpResponse, TokenRequest
from evertoken._checks import is_loopback
from evertoken._http import field_lines, http_date
from evertoken_transports._clock import suspend_aware_clock
from evertoken_transports._exchanges.addresses import CONNECTING, RESOLVING, Address, connected, hang_up, resolved
from evertoken_transports._exchanges.connecting import (
    HANDSHAKE,
    WAITING,
    check_alpn,
    default_ssl_context,
    failure_of,
    proxy_for,
)
from evertoken_transports._exchanges.h11_client import Conversation
from evertoken_transports._exchanges.target import Target
from evertoken_transports._fence import Outbound
from evertoken_transports.tools._doctor.finding import Finding, Level

PROXY, NAME, CONNECTION, TLS, CLOCK = "proxy", "name", "connection", "TLS", "clock"

_WRONG_CLOCK = 30.0
"""Seconds. Signed assertions are commonly refused beyond a minute, and clocks that are kept right differ by less."""

_CURES = {
    # By what the text of the failure says, the first that fits.
    "untrusted issuer": "Install this machine's authorities (often the package ca-certificates), or name a file of "
    "them in SSL_CERT_FILE. If a proxy that opens TLS stands in between, its authority belongs there.",
    "wrong host name": "Another host answers under this name: see --url, the name servers and /etc/hosts.",
    "was refused: ": "See this machine's clock. If it is right, the server's certificate is in need of its owner.",
    "client certificate": "The server wants a client certificate, or another one: --mtls-cert and --mtls-key give it "
    "here, ssl_context= does in a program.",
    "does not speak TLS": "See the port in --url: this one speaks something else, perhaps plain http.",
    "time ran out": "Something on the way lets TLS pass slowly or not at all: see firewalls, and the MTU of tunnels.",
}


_HUNG_UP = (
    "Nothing, if a token is granted below: not every server answers a request that brings nothing. If none is, the "
    "server may want a client certificate (--mtls-cert)."
)


class Heard(NamedTuple):
    """An answer, and what this machine's wall clock showed before and after it."""

    before: float
    response: HttpResponse
    after: float


class Network(Outbound):
    """One look at the way to ``url``, within ``seconds``.

    ``no_tls`` names the check that keeps us from trying TLS, if one does.
    """

    def __init__(self, url: str, context: ssl.SSLContext | None, seconds: float, *, no_tls: str = "") -> None:
        self._target = Target.of(url)
        self._context = context
        self._deadline = suspend_aware_clock() + seconds
        self._no_tls = no_tls
        self._stage = RESOLVING
        self._addresses: Sequence[Address] = ()
        self._line: socket.socket | None = None
        self._unheard = ""
        self.heard: Heard | None = None
        """The answer to the request without credentials, if there was one."""

    def findings(self) -> Iterator[Finding]:
        """Each step, and what became of it. Once one fails, those behind it are not tried."""
        first = _proxy(self._target)
        yield first
        in_the_way = PROXY if first.stops else ""
        steps: tuple[tuple[str, Callable[[], Finding]], ...]
        steps = ((NAME, self._resolve), (CONNECTION, self._connect), (TLS, self._talk), (CLOCK, self._compare))
        try:
            for check, step in steps:
                if check == TLS:
                    in_the_way = in_the_way or self._no_tls
                if in_the_way:
                    yield Finding(check, Level.SKIPPED, f"not tried: {in_the_way} is in the way, see above")
                    continue
                finding = self._tried(check, step)
                in_the_way = check if finding.stops else ""
                yield finding
        finally:
            if self._line is not None:
                hang_up(self._line)

    def _tried(self, check: str, step: Callable[[], Finding]) -> Finding:
        try:
            return step()
        except Exception as error:  # noqa: BLE001 (whatever it is, it is told as an exchange would tell it)
            text = str(failure_of(error, self._target, self._stage))
        return Finding(check, Level.PROBLEM, text, _todo(check, text))

    def _left(self, stage: str) -> float:
        self._stage = stage
        left = self._deadline - suspend_aware_clock()
        if left <= 0:
            raise TimeoutError
        return left

    def _resolve(self) -> Finding:
        self.check_fence()
        target = self._target
        self._addresses = resolved(target, self._left(RESOLVING))
        texts = [address.text for address in self._addresses]
        more = f" and {len(texts) - 1} more" if len(texts) > 1 else ""
        if _is_address(target.host):
            return Finding(NAME, Level.OK, f"{target.host} is an address and needs no name server")
        return Finding(NAME, Level.OK, f"{target.host} is {texts[0]}{more}")

    def _connect(self) -> Finding:
        self._line = connected(self._target, self._addresses, lambda: self._left(CONNECTING))
        peer = str(self._line.getpeername()[0])
        return Finding(CONNECTION, Level.OK, f"{peer} takes connections to port {self._target.port}")

    def _talk(self) -> Finding:
        """Make the connection secure, if the URL is https, and make a request on it."""
        told = "plain http, to this machine itself: nothing is encrypted, and nothing leaves it"
        if self._target.scheme == "https":
            told = self._secured()
        try:
            self.heard = self._answered()
        except ssl.SSLError:
            raise  # It is an alert: the server does not take our certificate, or misses one.
        except Exception as error:  # noqa: BLE001 (not everybody answers to HEAD; the token request will tell)
            self._unheard = str(failure_of(error, self._target, self._stage))
            if self._target.scheme == "https" and not isinstance(error, TimeoutError):
                return Finding(TLS, Level.WARNING, f"{told}; then: {self._unheard}", _HUNG_UP)
        return Finding(TLS, Level.OK, told)

    def _secured(self) -> str:
        assert self._line is not None  # noqa: S101 (connecting comes before)
        context = default_ssl_context() if self._context is None else self._context
        self._line = line = context.wrap_socket(
            self._line, server_hostname=self._target.tls_name, do_handshake_on_connect=False
        )
        line.settimeout(self._left(HANDSHAKE))
        line.do_handshake()
        check_alpn(line.selected_alpn_protocol())
        shown = line.getpeercert() or {}
        days = (ssl.cert_time_to_seconds(str(shown["notAfter"])) - time.time()) / 86_400
        return f"{line.version()}; the server's certificate is verified, and good for {days:.0f} days"

    def _answered(self) -> Heard:
        assert self._line is not None  # noqa: S101
        # This asks for no token, and has neither credentials nor a body.
        request = TokenRequest(0, "HEAD", "", (), b"", self._deadline)
        conversation = Conversation(request, self._target._replace(resource="/"))
        before, answer = time.time(), None
        self._line.settimeout(self._left("while sending a request"))
        with suppress(ConnectionError):  # A server that hangs up may have said why, by an alert that is read below.
            self._line.sendall(conversation.request_bytes())
        while answer is None:
            self._line.settimeout(self._left(WAITING))
            answer = conversation.receive(self._line.recv(16_384))
        return Heard(before, answer, time.time())

    def _compare(self) -> Finding:
        if self.heard is None:
            return Finding(CLOCK, Level.SKIPPED, f"not known: {self._unheard}")
        return clock(self.heard)


def clock(heard: Heard) -> Finding:
    """How far this machine's wall clock is from the ``Date`` of an answer (RFC 9110 section 6.6.1)."""
    dates = [http_date(line) for line in field_lines(heard.response.headers, "date")]
    if len(dates) != 1 or (date := dates[0]) is None:
        return Finding(CLOCK, Level.SKIPPED, "not known: the server's answer does not say what time it is (Date)")
    # A Date is in whole seconds, and was written at some moment while we waited: only what is outside of that differs.
    ahead, behind = heard.before - (date + 1), date - heard.after
    off, word = (ahead, "ahead of") if ahead > behind else (behind, "behind")
    if off < 1.0:
        return Finding(CLOCK, Level.OK, "this machine's clock agrees with the server's, to about a second")
    told = f"this machine's clock is {off:.0f} s {word} the server's"
    if off < _WRONG_CLOCK:
        return Finding(CLOCK, Level.OK, told)
    return Finding(
        CLOCK,
        Level.WARNING,
        told,
        "Have the clock set by the network (chrony, systemd-timesyncd). Tokens are counted by a clock that nobody sets "
        "and do not mind; signed assertions are refused, certificates seem expired, and logs do not fit together.",
    )


def _proxy(target: Target) -> Finding:
    if is_loopback(target.host):
        return Finding(PROXY, Level.OK, f"{target.host} is this machine itself: no proxy is asked")
    proxy = proxy_for(target)
    if proxy is None:
        names = [name for name in os.environ if name.lower() in (f"{target.scheme}_proxy", "all_proxy")]
        told = f"{', '.join(sorted(names))} is set, and NO_PROXY leaves {target.host} out" if names else "none is set"
        return Finding(PROXY, Level.OK, told)
    return Finding(
        PROXY,
        Level.PROBLEM,
        f"environment or system name the proxy {_place_of(proxy)} for {target.authority}, and the command does not go "
        "through proxies",
        f"If this machine may go around it, add {target.host} to NO_PROXY. If not, the program needs "
        "evertoken_transports.httpx, which goes through it; the command cannot.",
    )


def _place_of(proxy: str) -> str:
    """The host and the port of ``proxy``, without the name and the password that may stand before them."""
    try:
        parts = urlsplit(proxy if "://" in proxy else f"//{proxy}")
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "that cannot be read"
    return f"{parts.hostname or '?'}{port}"


def _todo(check: str, text: str) -> str:
    if check == NAME:
        return "See whether the name in --url is right, and whether this machine resolves any other."
    if check == CONNECTION:
        return "See whether a firewall lets this machine out to that port, and whether --url is right."
    advice = next(
        (cure for words, cure in _CURES.items() if words in text), "See what stands between here and the server."
    )
    file = os.environ.get("SSL_CERT_FILE")
    if "untrusted issuer" in text and file and not os.path.isfile(file):  # noqa: PTH113
        return f"SSL_CERT_FILE names {file}, which is no file: mend that first. {advice}"
    return advice


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True
