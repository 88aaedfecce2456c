"""What stands in a store as an answer of the endpoint, so that a machine is told of either in one way."""

from __future__ import annotations

import json

from evertoken._http import HttpResponse, Seen
from evertoken._json import JsonObject
from evertoken._states import BlockKind
from evertoken.outcomes import Blocked, Granted

_STATUS = {BlockKind.LOCKED: 400, BlockKind.REFUSED: 401, BlockKind.UNCLEAR: 403, BlockKind.RATE_LIMITED: 429}


def as_response(granted: Granted, seen: Seen) -> HttpResponse:
    """The answer that grants a token (RFC 6749 section 5.1)."""
    content: JsonObject = {"access_token": granted.access_token, "token_type": "bearer"}
    if granted.expires_in is not None:
        content["expires_in"] = granted.expires_in
    if granted.scope is not None:
        content["scope"] = granted.scope
    return _json_response(200, content, seen)


def refusal(blocked: Blocked, seen: Seen) -> HttpResponse:
    """The answer that refuses one, as it was met before.

    What it means stands in ``seen``. Its header fields are not repeated, because a wait that one of them states would
    be counted from now on.
    """
    problem = blocked.problem
    content: JsonObject = {"error": problem.error or blocked.kind.value}
    if problem.detail is not None:
        content["error_description"] = problem.detail
    return _json_response(problem.status or _STATUS[blocked.kind], content, seen)


def _json_response(status: int, content: JsonObject, seen: Seen) -> HttpResponse:
    headers = (("Content-Type", "application/json"), ("Cache-Control", "no-store"))
    return HttpResponse(status, headers, json.dumps(content).encode("ascii"), seen)
