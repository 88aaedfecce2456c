"""The Mangopay profile: client credentials at ``POST /v2.01/oauth/token``, Basic with the API key as it stands.

Sources: Mangopay's documentation, "Authentication", "API keys", "mTLS". The token endpoint has no client id in its
path; every other route has. Production and sandbox never share keys.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote, urlsplit

from evertoken._checks import fault_of_text, fault_of_url
from evertoken._grant import (
    BasicAuthentication,
    ClientCredentials,
    Profile,
    SecretSource,
    TokenEndpoint,
    grant_or_fault,
    or_raise,
)

__all__ = ("PRODUCTION", "PRODUCTION_MTLS", "PROFILE", "SANDBOX", "SANDBOX_MTLS", "production", "sandbox")

PRODUCTION = "https://api.mangopay.com"
SANDBOX = "https://api.sandbox.mangopay.com"
PRODUCTION_MTLS = "https://api-mtls.mangopay.com"
SANDBOX_MTLS = "https://api-mtls.sandbox.mangopay.com"

PROFILE = Profile(
    name="Mangopay",
    locked_codes=("unauthorized_client",),
    locked_advice=(
        "Mangopay locks an IP address after repeated bad or excessive token requests and names no duration. Look for"
        " a process that uses wrong credentials (often a sandbox key on production or the reverse) or asks for a token"
        " per call; contact Mangopay's support with the client id if it lasts."
    ),
    refused_advice=(
        "Mangopay does not say which half is wrong. The usual cause is a sandbox API key used on production or the"
        " reverse; then a key that was reset or revoked in the Dashboard, or a Dashboard password in its place. Set the"
        " right credentials before the next try: repeated refusals lock the IP address that asks."
    ),
    forbidden_advice="A 403 is about permission, not the token: is this host on the client's IP allowlist at Mangopay?",
)


def production(
    client_id: str, api_key: str | SecretSource, *, mtls: bool = False, base_url: str | None = None
) -> ClientCredentials:
    """The grant for Mangopay's production environment.

    Args:
        client_id: the ClientId, which is part of every API path as well.
        api_key: one of the ClientId's API keys for this environment, or a callable that gives it, from a vault or a
            file that rotates; see :class:`~evertoken.ClientCredentials`.
        mtls: use the hosts that ask for a client certificate; the certificate itself goes to the transport.
        base_url: another host altogether, such as an emulator on this machine; with or without the ``/v2.01/`` in which
            the base URL of Mangopay's Python SDK ends, and the client id that follows it in ``api_base``.

    Raises:
        ValueError: an argument is empty, malformed or unsafe; the text names it and shows no secret.
    """
    made = _made(client_id, api_key, base_url, {False: PRODUCTION, True: PRODUCTION_MTLS}, mtls)
    del api_key, client_id, base_url  # Error trackers show local variables.
    return or_raise(made)


def sandbox(
    client_id: str, api_key: str | SecretSource, *, mtls: bool = False, base_url: str | None = None
) -> ClientCredentials:
    """The grant for Mangopay's sandbox. Arguments and errors as for :func:`production`."""
    made = _made(client_id, api_key, base_url, {False: SANDBOX, True: SANDBOX_MTLS}, mtls)
    del api_key, client_id, base_url  # Error trackers show local variables.
    return or_raise(made)


def _made(
    client_id: str, api_key: str | SecretSource, base_url: str | None, hosts: Mapping[bool, str], mtls: object
) -> ClientCredentials | str:
    if not isinstance(mtls, bool):
        return (
            f"mtls must be a bool, not {type(mtls).__name__}: a certificate goes to the transport, as its ssl_context"
        )
    url = hosts[mtls] if base_url is None else base_url
    fault = fault_of_url("base_url", url) or fault_of_text("client_id", client_id)
    if fault is None and "?" in url:
        fault = "base_url must not have a query: paths are added to it"
    if fault is not None:
        return fault
    if api_key == "":
        return "api_key must not be empty"
    client = quote(client_id, safe="")
    base = _base_of(url, client)
    if base is None:
        return "base_url must be what comes before /v2.01, or end with that, alone or with the client id behind it"
    endpoint = TokenEndpoint(f"{base}/v2.01/oauth/token", BasicAuthentication("raw"), PROFILE)
    api_base = f"{base}/v2.01/{client}"
    return grant_or_fault(endpoint, client_id, api_key, secret_name="api_key", api_base=api_base)


def _base_of(url: str, client: str) -> str | None:
    """``url`` without its end, if that is ``/v2.01``, as in Mangopay's SDKs, or ``/v2.01/<client id>``, as in ours.

    None if ``/v2.01`` stands elsewhere in its path.
    """
    path = urlsplit(url).path
    before = re.sub(rf"/(?i:v2\.01)(/{re.escape(client)})?$", "", path.rstrip("/")).rstrip("/")
    return None if "/v2.01/" in f"{before.lower()}/" else url.removesuffix(path) + before
