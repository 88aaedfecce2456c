"""Mangopay's own SDK for Python, with its tokens kept by evertoken. Needs mangopay4-python-sdk, and h11."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

try:
    from mangopay.api import APIRequest
except ImportError as error:
    raise ImportError(
        "evertoken_transports.adapters.mangopay_sdk needs mangopay4-python-sdk: pip install mangopay4-python-sdk",
        name=error.name,
    ) from error

from evertoken_transports.requests import BearerAuth
from evertoken_transports.threads import TokenSource

__all__ = ("TokenStorage", "api_request")


class TokenStorage:
    """A storage strategy of the SDK, which finds a valid token here each time, and so never asks for one itself.

    For ``APIRequest(..., storage_strategy=TokenStorage(source))``, which needs some text for an API key and sends it
    nowhere. A storage sees no answers, so that it neither notices that a token was revoked nor repeats the call.
    :func:`api_request` does both. Where that cannot be used, let a receiver of the SDK's signal ``request_finished``
    call ``source.answered``.

    Args:
        source: where the tokens come from. Its grant must be that of the SDK's client.
        timeout: seconds that a call may wait for a token, as of ``source.token``, whose errors the call raises.
    """

    def __init__(self, source: TokenSource, timeout: float | None = None) -> None:
        self._source, self._timeout = source, timeout

    def get(self, env_key: str) -> dict[str, object]:  # noqa: ARG002
        """A token in the SDK's own form, by which it never expires, as the next call asks for a token again."""
        token = self._source.token(self._timeout)
        return {"access_token": token.value, "token_type": "Bearer", "timestamp": math.inf}

    def store(self, token: object, env_key: str) -> None:
        """Does nothing, since the source keeps the tokens."""


def api_request(auth: BearerAuth, **options: Any) -> APIRequest:  # noqa: ANN401 (the SDK's)
    """The handler through which the SDK sends its calls: ``User.all(handler=api_request(BearerAuth(grant)))``.

    Client id and address are those of the grant. The SDK is given neither the secret nor a token, and needs none: the
    session that it keeps signs each call by ``auth``, which also repeats a call whose token was revoked.

    Args:
        auth: signs the calls.
        options: further arguments of the SDK's ``APIRequest``, such as ``timeout``, ``proxies``, ``cert`` and ``key``.
    """
    base = f"{auth.api_base.rpartition('/')[0]}/"
    client_id, kept = auth.source.coordinator.machine.grant.client_id, "kept by evertoken"
    urls = {"api_url": base, "api_sandbox_url": base}
    found = {"access_token": kept, "token_type": "Bearer", "timestamp": math.inf}
    storage = SimpleNamespace(get=lambda _: found, store=lambda *_: None)
    handler = APIRequest(client_id, kept, storage_strategy=storage, **urls, **options)
    handler._session.auth = auth  # noqa: SLF001 (it takes no session of ours)
    return handler
