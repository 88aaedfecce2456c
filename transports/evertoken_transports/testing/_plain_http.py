"""Plain http to hosts of a simulated network: for tests, the one exception from the rule "https, or this machine"."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from evertoken._checks import simulated_hosts


@contextmanager
def allow_plain_http(*hosts: str) -> Generator[None]:
    """Until the block ends, URLs of ``hosts``, which are names in a simulated network, may begin with ``http://``.

        with allow_plain_http("api"):
            grant = mangopay.sandbox(client_id, api_key, base_url="http://api:8080")

    It is for event loops that simulate the network as well (simloop, simloom), and decorates tests, too. Nothing goes
    to the real network by it: ``asyncio.TokenSource`` sends a secret in clear to such a host only over a connection
    that no operating system has made, and no other exchange sends it at all. When the block has ended none does,
    also for a grant that was made in it.

    Args:
        hosts: host names without scheme and port.

    Raises:
        ValueError: one of ``hosts`` is not a host name.
    """
    names = [host.lower() if isinstance(host, str) else host for host in hosts]
    for name in names:
        if not isinstance(name, str) or not name or not set(name) <= _IN_NAMES:
            raise ValueError(f"hosts must be host names without scheme and port, such as 'api', not {name!r}")
    simulated_hosts.extend(names)
    try:
        yield
    finally:
        for name in names:
            simulated_hosts.remove(name)


_IN_NAMES = set("abcdefghijklmnopqrstuvwxyz0123456789-._")
