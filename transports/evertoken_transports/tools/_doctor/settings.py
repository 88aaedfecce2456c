"""The environment and the credentials that were given, and how these will be sent.

Nobody is asked for this, and no text shows a credential.
"""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import quote, urlsplit

from evertoken import BasicAuthentication, ClientCredentials, mangopay
from evertoken_transports.tools._doctor.finding import Finding, Level

ENVIRONMENT, CREDENTIALS = "environment", "credentials"

OTHERS = {"mangopay-sandbox": "mangopay-production", "mangopay-production": "mangopay-sandbox"}

_HOSTS = {
    urlsplit(url).hostname: profile
    for profile, urls in (
        ("mangopay-sandbox", (mangopay.SANDBOX, mangopay.SANDBOX_MTLS)),
        ("mangopay-production", (mangopay.PRODUCTION, mangopay.PRODUCTION_MTLS)),
    )
    for url in urls
}

_MANNERS = {
    "raw": 'HTTP Basic with both parts as they stand (encoding "raw")',
    "rfc6749": 'HTTP Basic with both parts percent-encoded (encoding "rfc6749")',
}
_OTHER_ENCODING = {"raw": "rfc6749", "rfc6749": "raw"}


def environment(grant: ClientCredentials, profile: str | None) -> Finding:
    """Whether the host that is asked is one of ``profile``."""
    host = urlsplit(grant.endpoint.url).hostname or ""
    known = _HOSTS.get(host)
    if known is None or known == profile:
        return Finding(ENVIRONMENT, Level.OK, f"{profile or 'no profile'}, at {host}")
    if profile is None:
        found = f"{host} is asked without its profile: the credentials are spelt otherwise than Mangopay documents"
        return Finding(ENVIRONMENT, Level.WARNING, found, f"Give --profile {known} in the place of --url.")
    found = f"{host} is a host of {known}, and the profile is {profile}"
    return Finding(ENVIRONMENT, Level.WARNING, found, f"Give --profile {known}, or leave --url out.")


def credentials(grant: ClientCredentials, *, granted: bool) -> Finding:
    """How ``grant`` is spelt on its way, and whether another server might read it differently."""
    manner = grant.endpoint.authentication
    assert isinstance(manner, BasicAuthentication)  # noqa: S101 (what the command makes)
    told = f"sent by {_MANNERS[manner.encoding]}"
    if granted:
        return Finding(CREDENTIALS, Level.OK, f"{told}, and taken")
    parts = {"client id": grant.client_id, "secret": grant.client_secret}
    quoted = _names(name for name, part in parts.items() if len(part) > 1 and part[0] == part[-1] and part[0] in "\"'")
    if quoted:
        todo = "Take them away, unless the provider gave them: what is in a file is sent as it stands."
        return Finding(CREDENTIALS, Level.WARNING, f"{told}; quotation marks around {quoted} are sent with it", todo)
    odd = _names(name for name, part in parts.items() if quote(part, safe="") != part)
    if not odd:
        found = f"{told}; there is no character in them that another encoding spells differently"
        return Finding(CREDENTIALS, Level.OK, found)
    other = _OTHER_ENCODING[manner.encoding]
    return Finding(
        CREDENTIALS,
        Level.WARNING,
        f"{told}; {odd} has characters that servers read differently in different encodings",
        "If they are refused, and you know that they are right, this is a likely cause. "
        f'--encoding {other} spells them the other way. In a program BasicAuthentication("{other}") does, and '
        "PostAuthentication() leaves the question out, where the provider documents that.",
    )


def _names(names: Iterable[str]) -> str:
    return " and ".join(f"the {name}" for name in names)
