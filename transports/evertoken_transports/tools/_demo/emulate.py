"""``evertoken emulate``: the emulator for other people's clients, with a line for each request that arrives."""

from __future__ import annotations

import dataclasses
import json
import shlex
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from evertoken import mangopay
from evertoken._secrecy import Unpicklable
from evertoken.testing import (
    ApiBehaviour,
    Arrival,
    AuthorizationServer,
    Overuse,
    Phase,
    Route,
    Script,
    TokenBehaviour,
    TokenFault,
)
from evertoken_transports.emulator import Emulator

MADE_UP_KEY = "made-up-demo-key"
"""Opens nothing but emulators on this machine; so it may be shown."""

_TICK = 0.1
_KEPT = 10_000

EXAMPLE = Script(
    lifetime=60,
    token=TokenBehaviour(latency_before=0.05),
    phases=(
        Phase(at=20, until=40, token=TokenBehaviour(fault=TokenFault.SERVER_ERROR, status=503, retry_after=5)),
        Phase(at=90, until=100, token=TokenBehaviour(fault=TokenFault.RATE_LIMITED_RETRY_AFTER, retry_after=10)),
        Phase(at=150, until=155, token=TokenBehaviour(fault=TokenFault.HANG), api=ApiBehaviour(latency=0.5)),
    ),
    revocations=(120,),
    overuse=Overuse(requests=20, seconds=60, refused=3, lock_seconds=30),
)
"""A script with one of each: an outage, a rate limit, silence, a revocation, and the rule that locks an account."""


@dataclass(frozen=True, slots=True)
class Options(Unpicklable):
    """What the command line asked for. Without an ``api_key`` the made-up one is used, and shown."""

    script: Script
    port: int
    client_id: str
    api_key: str | None = field(repr=False)


def read_script(path: str | None, lifetime: int | None) -> Script:
    """The script in the JSON file ``path``, or one without faults. Its tokens live ``lifetime`` seconds if given.

    Raises:
        ScriptError: the script is wrong; the text names the field and the allowed values.
        OSError, UnicodeDecodeError: the file cannot be read.
    """
    script = Script() if path is None else Script.from_json(Path(path).read_text(encoding="utf-8"))
    return script if lifetime is None else dataclasses.replace(script, lifetime=lifetime)


def emulate(options: Options, write: Callable[[str], object], over: threading.Event | None = None) -> None:
    """Serve until ``over`` is set or the user interrupts, and write what is to be known.

    Raises:
        OSError: the port is taken.
        ValueError: the client id or the API key cannot be used: no client could send it.
    """
    over = threading.Event() if over is None else over
    key = MADE_UP_KEY if options.api_key is None else options.api_key
    mangopay.sandbox(options.client_id, key)
    server = AuthorizationServer(
        options.client_id,
        key,
        script=options.script,
        epoch=time.time(),
        keep_arrivals=_KEPT,
    )
    counts: Counter[str] = Counter()
    with Emulator(server, port=options.port) as emulator:
        try:
            for line in hints(emulator.base_url, options):
                write(line)
            _follow(emulator, write, counts, over)
        except KeyboardInterrupt:
            write("")
    write(_summary(counts, len(server.tokens)))


def _follow(emulator: Emulator, write: Callable[[str], object], counts: Counter[str], over: threading.Event) -> None:
    following = 0
    is_over = False
    while not is_over:
        is_over = over.wait(_TICK)
        with emulator.server() as server:
            fresh = unread(server.arrivals, following)
        for arrival in fresh:
            counts[arrival.route.value] += 1
            write(described(arrival))
            following = arrival.seq + 1


def unread(kept: Sequence[Arrival], following: int) -> Sequence[Arrival]:
    """The arrivals from number ``following`` on, of a log that has forgotten its oldest ones."""
    first = kept[0].seq if kept else following
    return kept[max(0, following - first) :]


def described(arrival: Arrival) -> str:
    """One arrival in one line. Holds no secret: a token is told by its number."""
    status = "no answer" if arrival.status is None else str(arrival.status)
    told = [f"{arrival.now:8.2f} s  {arrival.method:<6} {arrival.path}  {status}"]
    if arrival.token_number is not None:
        truth = "issued" if arrival.token_truth is None else arrival.token_truth.value
        told.append(f"token {arrival.token_number} {truth}")
    elif arrival.route is Route.API:
        told.append("unknown token" if arrival.token_truth is not None else "no token")
    if arrival.fault is not None and arrival.fault.value != "none":
        told.append(f"fault {arrival.fault.value}")
    if arrival.retry_after is not None:
        told.append(f"Retry-After: {arrival.retry_after}")
    if arrival.detail:
        told.append(arrival.detail)
    if arrival.replayed:
        told.append("REPLAYED with the token just rejected")
    return ", ".join(told)


def hints(base_url: str, options: Options) -> Iterator[str]:
    """How to point a client at ``base_url``: commands and programs that can be pasted as they stand."""
    client_id, is_made_up = options.client_id, options.api_key is None
    key = MADE_UP_KEY if is_made_up else "<the key that you gave>"
    # The SDK for Node.js takes every token for expired a minute early. One that lives no longer it never uses: it asks
    # again, without an end.
    warning = "; it never stops asking for tokens as short-lived as these: give --lifetime 61 or more"
    warning = warning if options.script.lifetime <= 60 else ""
    yield f"A Mangopay-like server at {base_url}; tokens live {options.script.lifetime} s. Ctrl-C ends it."
    yield f"client id {client_id}, API key {key}{' (made up: it opens nothing else)' if is_made_up else ''}"
    pair = shlex.quote(f"{client_id}:{key}")
    for client, lines in {
        "curl": (
            f"curl -u {pair} -d grant_type=client_credentials {base_url}/v2.01/oauth/token",
            f"curl -H 'Authorization: Bearer <access_token>' {base_url}/v2.01/{quote(client_id, safe='')}/users",
        ),
        "Python, with evertoken": (
            "import httpx",
            "from evertoken import mangopay",
            "from evertoken_transports.httpx import BearerAuth",
            f"auth = BearerAuth(mangopay.sandbox({client_id!r}, {key!r}, base_url={base_url!r}))",
            "with httpx.Client(auth=auth, base_url=auth.api_base) as client:",
            "    print(client.get('/users').text)",
        ),
        "Mangopay's SDK for Python (mangopay4-python-sdk)": (
            "import mangopay",
            f"mangopay.client_id, mangopay.apikey = {client_id!r}, {key!r}",
            f"mangopay.api_sandbox_url = '{base_url}/v2.01/'",
            "from mangopay.resources import User",
            "print(User.all().data)",
        ),
        f"Mangopay's SDK for Node.js (mangopay4-nodejs-sdk{warning})": (
            "const Mangopay = require('mangopay4-nodejs-sdk')",
            f"const account = {{ clientId: {json.dumps(client_id)}, clientApiKey: {json.dumps(key)} }}",
            f"const api = new Mangopay({{ ...account, baseUrl: '{base_url}' }})",
            "api.Users.getAll().then(console.log)",
        ),
    }.items():
        yield ""
        yield f"{client}:"
        yield from (f"  {line}" for line in lines)
    yield ""


def _summary(counts: Counter[str], tokens: int) -> str:
    asked, called, other = (counts[route.value] for route in Route)
    rest = f", {other} to elsewhere" if other else ""
    return f"token requests: {asked}, tokens issued: {tokens}, API calls: {called}{rest}"
