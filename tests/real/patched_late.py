"""A WSGI application for ``gunicorn -k gevent --preload``: all is imported and made before the worker patches."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import httpx

from evertoken_transports.httpx import BearerAuth
from evertoken_transports.threads import TokenSource
from tests.kits import canary
from tests.loops.endpoint import LIMIT

__all__ = ("application",)

_grant = canary.grant(base_url=os.environ["TOKEN_SERVER"])
_source = TokenSource(_grant)
_auth = BearerAuth(_grant, coordinator=_source.coordinator, trust_env=False)


def application(environ: dict[str, Any], start_response: Callable[..., object]) -> list[bytes]:
    """The token's number, as ``/source`` or ``/httpx`` finds it; for any other path an answer that needs none."""
    header = ""
    if environ["PATH_INFO"] == "/source":
        header = _source.authorization(LIMIT)
    elif environ["PATH_INFO"] == "/httpx":
        # Plain http needs no authorities, which take long to load.
        options: dict[str, Any] = {"base_url": _auth.api_base, "trust_env": False, "timeout": LIMIT, "verify": False}
        with httpx.Client(auth=_auth, **options) as client:
            header = client.get("/users").raise_for_status().request.headers["Authorization"]
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [header.encode()]
