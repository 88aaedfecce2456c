"""What it takes to read an answer that is as long and as bad as can be, and one of twice the length.

    python benchmarks/scrub.py

The answers are 64 kB and 128 kB of texts that an error is told by, made to be hard to search: parts of the secret,
layers of encoding, names that nearly are a token's, secrets of the answer's own. Printed are the CPU time of each, the
best of several rounds, and how many times the longer one takes that of the shorter. It should be about two, and not
more than 2.3.
"""

from __future__ import annotations

import base64
import gc
import json
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType

from evertoken import ClientCredentials, HttpResponse, Policy, TokenMachine, mangopay

ROUNDS = 40
SIZE = 65_536
SECRET = "a" * 40 + "b"

Text = Callable[[int], str]


def told(text: Text) -> Callable[[int], bytes]:
    """An error with so many bytes of ``text`` for its words."""
    return lambda size: json.dumps({"error": "invalid_request", "error_description": text(size)[:size]}).encode()


def plain(text: Text) -> Callable[[int], bytes]:
    """So many bytes of ``text`` and no JSON."""
    return lambda size: text(size)[:size].encode()


def with_token(size: int) -> bytes:
    """An error that repeats the better part of a long token."""
    token = "a" * (size // 2)
    return json.dumps({"error": "x", "access_token": token + "b", "error_description": token}).encode()


def with_tokens(size: int) -> bytes:
    """An error with thousands of tokens in it, none of which is in its words."""
    tokens = list(range(100_000, 100_000 + size // 8))
    return json.dumps({"error": "x", "error_description": "Why", "token": tokens}).encode()


def blanks(size: int) -> str:
    """White space before the first word."""
    return " \n" * (size // 2) + "why"


ANSWERS: Mapping[str, Callable[[int], bytes]] = MappingProxyType(
    {
        "nearly the secret, again and again": told(lambda size: SECRET[:-1] * size),
        "the secret, again and again": told(lambda size: SECRET * size),
        "the secret in percents of percents": told(lambda size: "%252561" * size),
        "Base64 of Base64": plain(lambda size: "a " + base64.b64encode(base64.b64encode(b"a" * size)).decode()),
        "nearly a token's name": told(lambda size: "token ::: " * size),
        "white space": plain(blanks),
        "entities": plain(lambda size: "a &#97" * size),
        "backslashes": plain(lambda size: "a \\" * size),
        "a token that is repeated": with_token,
        "thousands of tokens": with_tokens,
    }
)


def reading(body: bytes) -> Callable[[], object]:
    """Work that reads ``body`` as the answer to a request, of a machine that would take a longer one."""
    grant: ClientCredentials = mangopay.sandbox("client", SECRET)
    machine = TokenMachine(grant, policy=Policy(max_body=4 * SIZE), draw=lambda: 0.5)
    request, response = machine.start_request(0), HttpResponse(400, (), body)
    return lambda: machine.read_response(request, response)


def cpu_time(work: Callable[[], object]) -> float:
    """Milliseconds of CPU time that ``work`` takes once."""
    start = time.process_time()
    work()
    return (time.process_time() - start) * 1_000


def main() -> None:
    """Run all of it and print."""
    gc.disable()
    print(f"{'':36} {'64 kB':>10} {'128 kB':>10}   ratio")
    for name, make in ANSWERS.items():
        works = [reading(make(size)) for size in (SIZE - 200, 2 * SIZE - 400)]
        # In turn, since a shared machine has its slow moments.
        rounds = [[cpu_time(work) for work in works] for _ in range(ROUNDS)]
        short, long = map(min, zip(*rounds, strict=True))
        print(f"{name:36} {short:7.2f} ms {long:7.2f} ms {long / short:7.2f}")


if __name__ == "__main__":
    main()
