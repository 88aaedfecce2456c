"""OpenAI's SDK, and whatever speaks its protocol behind an OAuth 2.0 gateway. Needs openai, httpx2 and h11."""

from __future__ import annotations

from typing import Any

try:
    from openai import AsyncOpenAI, DefaultAsyncHttpxClient, DefaultHttpxClient, OpenAI
except ImportError as error:
    raise ImportError(
        "evertoken_transports.adapters.openai_sdk needs openai: pip install openai", name=error.name
    ) from error

from evertoken_transports.httpx2 import BearerAuth

__all__ = ("async_client", "client")

_KEPT = "kept by evertoken"
"""Stands where the SDK wants a secret. ``auth`` replaces it in each call that it signs; in others it does no harm."""


def client(auth: BearerAuth, **options: Any) -> OpenAI:  # noqa: ANN401 (the SDK's)
    """The SDK's client, whose calls ``auth`` signs, and repeats if the token was revoked, streams included.

    The client for asyncio is :func:`async_client`. Where no token can be had, a call raises the error of evertoken.

    Args:
        auth: signs the calls to its ``api_base`` and its ``origins``. Calls to elsewhere are not signed, and fail.
        options: further arguments of the SDK's client. ``base_url`` is by default the ``api_base`` of ``auth``.
    """
    options.setdefault("base_url", auth.api_base)
    return OpenAI(api_key=_KEPT, http_client=DefaultHttpxClient(auth=auth), **options)


def async_client(auth: BearerAuth, **options: Any) -> AsyncOpenAI:  # noqa: ANN401
    """The same as :func:`client` for asyncio: waiting for a token never blocks the loop. ``auth`` may serve both."""
    options.setdefault("base_url", auth.api_base)
    return AsyncOpenAI(api_key=_KEPT, http_client=DefaultAsyncHttpxClient(auth=auth), **options)
