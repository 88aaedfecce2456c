"""A WSGI application for ``gunicorn --preload``: its source has begun before the workers are forked."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from evertoken import Policy
from tests.kits import canary
from tests.kits.adapters import Kind, coordinator_of, source_of
from tests.kits.worlds import LIMIT, until

__all__ = ("application",)

_coordinator = coordinator_of(canary.grant(base_url=os.environ["TOKEN_SERVER"]), Policy(request_timeout=600.0))
_source = source_of(Kind("threads", "h11"), _coordinator)
_source.authorization_nowait()
# The test says when the workers may come.
until(Path(os.environ["GO_AHEAD"]).exists)
if os.environ["WARM"]:
    _source.warm_up(LIMIT)


def application(environ: dict[str, Any], start_response: Callable[..., object]) -> list[bytes]:
    """Who answers, and with which token."""
    header = _source.authorization(LIMIT)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{os.getpid()} {header}".encode()]
