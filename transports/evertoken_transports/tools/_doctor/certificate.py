"""The client certificate: whether it can be used, whose it is, and for how many days."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from evertoken_transports.tools._doctor.finding import Finding, Level

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

CERTIFICATE = "client certificate"

_SOON = 30.0
"""Days before the end of a certificate from which it is warned of. Mangopay's last twelve months, and a new one takes a
person."""

_RENEW = (
    "Get a new one (Mangopay: Dashboard, Developers), put it in the place of this one, and load it into the context "
    "that is in use, or start what uses it anew."
)

_ENVIRONMENTS = {"mangopay-sandbox": "sandbox", "mangopay-production": "prod"}
"""What stands in the names of Mangopay's certificates (Mangopay: mTLS)."""


def certificate(path: str | None, profile: str | None, client_id: str) -> Finding:
    """The finding on the certificate in the file ``path``, which could be loaded; or on its absence."""
    if path is None:
        return Finding(CERTIFICATE, Level.OK, "none is given, so the connection shows none (--mtls-cert gives one)")
    if find_spec("cryptography") is None:
        found = f"{path} can be used; for how long is not known without the library cryptography"
        return Finding(CERTIFICATE, Level.WARNING, found, "pip install cryptography, and run this again.")
    from cryptography.x509 import load_pem_x509_certificate  # noqa: PLC0415 (an extra)

    try:
        # TLS has loaded this file. Its first certificate is the client's; those after it lead to an authority.
        first = load_pem_x509_certificate(Path(path).read_bytes())
    except ValueError:
        found = f"{path} can be used; for how long is not known, since it breaks the rules for certificates"
        return Finding(CERTIFICATE, Level.WARNING, found, "Have it issued anew: other programs may refuse it.")
    return _judged(first, path, profile, client_id)


def _judged(found: Certificate, path: str, profile: str | None, client_id: str) -> Finding:
    now = datetime.now(UTC)
    left = (found.not_valid_after_utc - now).total_seconds() / 86_400
    ends = f"{found.not_valid_after_utc:%Y-%m-%d}"
    if left <= 0:
        return Finding(CERTIFICATE, Level.PROBLEM, f"{path} has expired on {ends}", _RENEW)
    if now < found.not_valid_before_utc:
        begins = f"{found.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
        todo = "See this machine's clock; if that is right, wait, or take the certificate before this one."
        return Finding(CERTIFICATE, Level.PROBLEM, f"{path} is not valid before {begins}", todo)
    name = _name_of(found)
    told = f"{path}{f' ({name})' if name else ''} is good for {left:.0f} days, until {ends}"
    expected = f"{client_id}.{_ENVIRONMENTS.get(profile or '', '')}.mangopay.com"
    if profile is not None and name.endswith(".mangopay.com") and name.casefold() != expected.casefold():
        todo = "Take the certificate of this client and this environment: each environment has one of its own."
        return Finding(CERTIFICATE, Level.WARNING, f"{told}, but for {profile} its name would be {expected}", todo)
    if left <= _SOON:
        return Finding(CERTIFICATE, Level.WARNING, told, _RENEW)
    return Finding(CERTIFICATE, Level.OK, told)


def _name_of(found: Certificate) -> str:
    from cryptography.x509.oid import NameOID  # noqa: PLC0415

    names = found.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else ""
