"""The order of the checks: first those that ask nobody, and last the token request, if nothing is in its way."""

from __future__ import annotations

import argparse
import ssl
from collections.abc import Callable

from evertoken import ClientCredentials
from evertoken.sharing import Store
from evertoken_transports.tools import _shell
from evertoken_transports.tools._doctor.asking import Asked, Once, ask, not_of_other, of_other, of_token
from evertoken_transports.tools._doctor.certificate import CERTIFICATE, certificate
from evertoken_transports.tools._doctor.finding import Finding, Level, Report
from evertoken_transports.tools._doctor.network import CLOCK, Heard, Network, clock
from evertoken_transports.tools._doctor.places import looked_at
from evertoken_transports.tools._doctor.settings import OTHERS, credentials, environment

_SECONDS = 10.0
"""For the way to the token endpoint: as many as a token request has by default."""


def examine(options: argparse.Namespace, show: Callable[[str], object]) -> int:
    """Look at everything, ``show`` what was found, and return the exit status.

    Raises:
        UsageError: what is given is not enough to begin with.
    """
    grant = _shell.grant_of(options)
    found = _Examination(options, grant, _other(options, grant), _shell.store_of(options), _shell.keys_of_store())
    try:
        found.look_around()
        found.ask()
    finally:
        _shell.let_write()
    report = Report(grant.client_id, grant.endpoint.url, repr(found.store), found.sent, found.findings)
    show(report.as_json() if options.json else "\n".join(report.lines()))
    return report.status


class _Examination:
    """What has been found so far."""

    def __init__(
        self,
        options: argparse.Namespace,
        grant: ClientCredentials,
        other: ClientCredentials | None,
        store: Store,
        keys: list[str],
    ) -> None:
        self._options, self._grant, self._other, self.store, self._keys = options, grant, other, store, keys
        self.findings: list[Finding] = []
        self.sent = 0
        """How many token requests were made."""
        self._context: ssl.SSLContext | None = None

    def look_around(self) -> None:
        """Check everything but the store, and what the token endpoint says to the credentials."""
        options, grant, no_tls = self._options, self._grant, ""
        self.findings.append(environment(grant, options.profile))
        try:
            self._context = _shell.ssl_context_of(options)
        except _shell.UsageError as error:
            if options.mtls_cert is None:
                raise
            todo = "Give both files in PEM; a key with a password has to be decrypted first (openssl pkey)."
            self.findings.append(Finding(CERTIFICATE, Level.PROBLEM, str(error), todo, 2))
            no_tls = CERTIFICATE
        else:
            self.findings.append(certificate(options.mtls_cert, options.profile, grant.client_id))
        seconds = _SECONDS if options.timeout is None else options.timeout
        self.findings += Network(grant.endpoint.url, self._context, seconds, no_tls=no_tls).findings()

    def ask(self) -> None:
        """Check the store and ask for a token; if that is refused, ask the other environment, where that is wanted."""
        options, other = self._options, self._other
        there = options.other_environment or OTHERS.get(options.profile or "", "")
        in_the_way = next((each.check for each in self.findings if each.stops), "")
        result = self._asked(self._grant, in_the_way)
        self.findings.insert(1, credentials(self._grant, granted=result.left is not None))
        self.findings += result.place.findings
        self.findings.append(of_token(result, in_the_way, there, tells_apart=other is not None))
        if other is not None and result.is_refused and not in_the_way:
            here = options.profile or self._grant.endpoint.url
            self.findings.append(of_other(self._asked(other, ""), here, there))
        elif other is not None:
            self.findings.append(not_of_other(result, in_the_way, there))

    def _asked(self, grant: ClientCredentials, in_the_way: str) -> Asked:
        place = looked_at(self.store, self._options.store, grant, _shell.cipher_of(self._keys))
        once = Once(self._context, may=not in_the_way)
        result = ask(grant, self.store, place, self._keys, once)
        self.sent += once.sent
        if once.heard is not None:
            self._tell_the_time(once.heard)
        return result

    def _tell_the_time(self, heard: Heard) -> None:
        """Put the finding on the clock right by a token answer.

        Not every server tells the time when it is asked without credentials.
        """
        for place, each in enumerate(self.findings):
            if (each.check, each.level) == (CLOCK, Level.SKIPPED):
                self.findings[place] = clock(heard)


def _other(options: argparse.Namespace, grant: ClientCredentials) -> ClientCredentials | None:
    """The grant for the other environment, None if that is not to be asked.

    Raises:
        UsageError: it is to be asked, and nothing says which one it is.
    """
    url, profile = options.other_environment, OTHERS.get(options.profile or "")
    if url is None:
        return None
    if not url and (profile is None or options.url is not None):
        raise _shell.UsageError("--other-environment needs a URL where --url is given, or no profile")
    there = argparse.Namespace(**{**vars(options), "profile": profile, "url": url or None})
    return _shell.grant_for(there, grant.client_id, grant.client_secret)
