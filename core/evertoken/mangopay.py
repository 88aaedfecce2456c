"""The Mangopay profile: client credentials at ``POST /v2.01/oauth/token``, Basic with the API key as it stands.

Sources: Mangopay's documentation, "Authentication", "API keys", "mTLS". The token endpoint has no client id in its
path; every other route has. Production and sandbox never share keys.
"""

from __future__ import annotations

from urllib.parse import quote

from evertoken._grant import BasicAuthentication, ClientCredentials, Profile, TokenEndpoint, check_url

__all__ = ("PROFILE", "PRODUCTION", "PRODUCTION_MTLS", "SANDBOX", "SANDBOX_MTLS", "production", "sandbox")

PRODUCTION = "https://api.mangopay.com"
SANDBOX = "https://api.sandbox.mangopay.com"
PRODUCTION_MTLS = "https://api-mtls.mangopay.com"
SANDBOX_MTLS = "https://api-mtls.sandbox.mangopay.com"

PROFILE = Profile(
    name="Mangopay",
    locked_codes=("unauthorized_client",),
    locked_advice=(
        "Mangopay locks this IP address after repeated bad or excessive token requests and names no duration. Look for"
        " a process that uses wrong credentials (often a sandbox key on production or the reverse) or asks for a token"
        " per call; contact Mangopay's support with the client id if it lasts."
    ),
    refused_advice=(
        "Mangopay does not say which half is wrong. The usual cause is a sandbox API key used on production or the"
        " reverse; then a key that was reset or revoked in the Dashboard, or a Dashboard password in its place. Set the"
        " right credentials before the next try: repeated refusals lock this IP address."
    ),
    forbidden_advice="A 403 is about permission, not the token: is this host on the client's IP allowlist at Mangopay?",
)


def production(
    client_id: str, api_key: str, *, mtls: bool = False, base_url: str | None = None
) -> ClientCredentials:
    """The grant for Mangopay's production environment.

    Args:
        client_id: the ClientId, which is part of every API path as well.
        api_key: one of the ClientId's API keys for this environment.
        mtls: use the hosts that ask for a client certificate; the certificate itself goes to the transport.
        base_url: another host altogether, such as an emulator on this machine.

    Raises:
        ValueError: an argument is empty, malformed or unsafe; the text names it and shows no secret.
    """
    return _grant(client_id, api_key, base_url or (PRODUCTION_MTLS if mtls else PRODUCTION))


def sandbox(client_id: str, api_key: str, *, mtls: bool = False, base_url: str | None = None) -> ClientCredentials:
    """The grant for Mangopay's sandbox. Arguments and errors as for :func:`production`."""
    return _grant(client_id, api_key, base_url or (SANDBOX_MTLS if mtls else SANDBOX))


def _grant(client_id: str, api_key: str, base_url: str) -> ClientCredentials:
    check_url("base_url", base_url)
    base = base_url.rstrip("/")
    if not isinstance(client_id, str) or not client_id:
        raise ValueError("client_id must not be empty")
    if not isinstance(api_key, str) or not api_key:
        raise ValueError("api_key must not be empty")
    endpoint = TokenEndpoint(f"{base}/v2.01/oauth/token", BasicAuthentication("raw"), PROFILE)
    return ClientCredentials(endpoint, client_id, api_key, api_base=f"{base}/v2.01/{quote(client_id, safe='')}")
