"""The store in Redis and Valkey: what becomes of it when the server is in trouble, and what it needs to be allowed."""

from __future__ import annotations

import pickle
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, cast

import pytest
import redis
import redis.asyncio
import trustme

from evertoken.sharing import StoreTrouble
from evertoken_transports.stores import RedisStore
from tests.kits.worlds import LIMIT, until
from tests.real.stores.kits import SERVERS, Server, server
from tests.real.stores.places import KEY, client_of_sentinel

SOON = 5.0
PASSWORD = "a-password-of-the-store"
RIGHTS = ("+eval", "+get", "+set", "+del", "+time", "+publish", "+subscribe")


def load(store: RedisStore, timeout: float = SOON) -> bytes | None:
    return store.load(KEY, timeout=timeout).value


def put(store: RedisStore, expected: bytes | None, value: bytes | None) -> bool:
    return store.swap(KEY, expected, value, lasts=600, timeout=SOON).done


def refused(store: RedisStore, timeout: float = SOON) -> str:
    with pytest.raises(StoreTrouble) as caught:
        load(store, timeout)
    return told(caught.value)


def told(trouble: StoreTrouble) -> str:
    assert trouble.__cause__ is None
    assert trouble.__context__ is None
    assert PASSWORD not in str(trouble)
    return str(trouble)


@pytest.fixture(params=SERVERS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def running(kind: str) -> Iterator[Server]:
    with server(kind) as made:
        yield made


# ------------------------------------------------------------------------------------------------- a server in trouble


def test_a_server_that_is_killed_is_trouble_and_one_that_is_back_is_none(running: Server) -> None:
    store = RedisStore(running.url)
    assert put(store, None, b"a")
    running.kill()
    assert "cannot be reached" in refused(store)
    running.start()
    assert load(store) is None
    assert put(store, None, b"a")
    store.close()


def test_a_server_that_hangs_is_trouble_when_the_caller_s_time_is_over(running: Server) -> None:
    store = RedisStore(running.url)
    assert put(store, None, b"a")
    running.pause()
    assert "did not answer in time" in refused(store, 0.05)
    running.go_on()
    assert load(store) == b"a"
    store.close()


def test_a_server_that_pauses_its_clients_is_trouble_and_loses_nothing(running: Server) -> None:
    store = RedisStore(running.url)
    assert put(store, None, b"a")
    running.ask("CLIENT", "PAUSE", 600_000, "WRITE")  # Scripts wait as well, and an administrator does not.
    assert "did not answer in time" in refused(store, 0.05)
    running.ask("CLIENT", "UNPAUSE")
    until(lambda: suppressed(lambda: load(store)) == b"a")
    store.close()


def suppressed(act: Callable[[], object]) -> object:
    with suppress(StoreTrouble):
        return act()
    return None


def test_a_read_only_replica_can_be_looked_at_and_not_be_written(running: Server) -> None:
    store = RedisStore(running.url)
    assert put(store, None, b"a")
    running.ask("REPLICAOF", "127.0.0.1", 1)
    assert load(store) == b"a"
    with pytest.raises(StoreTrouble) as caught:
        put(store, b"a", b"b")
    assert "read-only replica: give the address of the master" in told(caught.value)
    store.close()


def test_a_server_whose_memory_is_full_can_be_looked_at_and_not_be_written(running: Server) -> None:
    store = RedisStore(running.url)
    assert put(store, None, b"a")
    running.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")
    running.ask("CONFIG", "SET", "maxmemory", 1)
    assert load(store) == b"a"
    with pytest.raises(StoreTrouble) as caught:
        put(store, b"a", b"b")
    assert "its memory is full (maxmemory)" in told(caught.value)
    running.ask("CONFIG", "SET", "maxmemory", 0)
    assert put(store, b"a", b"b")
    store.close()


def test_what_was_flushed_is_gone_and_scripts_are_not_missed(running: Server) -> None:
    store = RedisStore(running.url)
    assert put(store, None, b"a")
    running.ask("FLUSHALL")
    running.ask("SCRIPT", "FLUSH")
    assert load(store) is None
    assert put(store, None, b"a")
    store.close()


def test_a_connection_that_the_server_has_closed_costs_one_call_at_most(running: Server) -> None:
    store = RedisStore(running.url)
    assert put(store, None, b"a")
    running.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    suppressed(lambda: load(store))
    assert load(store) == b"a"
    store.close()


def test_another_program_s_value_under_the_key_is_trouble_that_says_so(running: Server) -> None:
    running.ask("HSET", f"evertoken:1:{KEY}", "a", "b")
    store = RedisStore(running.url)
    assert "use another prefix" in refused(store)
    store.close()


def test_a_value_expires_by_the_server(running: Server) -> None:
    store = RedisStore(running.url, prefix="mine")
    assert put(store, None, b"a")
    assert 590_000 < running.ask("PTTL", f"mine:1:{KEY}") <= 600_000
    assert running.ask("DBSIZE") == 1
    store.close()


# A server in each state that a real one is in for too short a time.
@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"-LOADING Redis is loading the dataset in memory\r\n", "loading its data"),
        (b"-MASTERDOWN Link with MASTER is down\r\n", "lost its master"),
        (b"-CLUSTERDOWN The cluster is down\r\n", "CLUSTER INFO"),
        (b"-MISCONF Errors writing to disk\r\n", "cannot save its data"),
        (b"-NOREPLICAS Not enough good replicas to write.\r\n", "too few replicas"),
        (b"-BUSY Redis is busy running a script.\r\n", "SCRIPT KILL"),
        (b"-ERR max number of clients reached\r\n", "cannot be reached"),
        (b"-ERR unknown command 'eval'\r\n", "raised ResponseError"),
        (b"-ERR " + PASSWORD.encode() + b"\r\n", "raised ResponseError"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "raised InvalidResponse"),
        (b"+OK\r\n", "a bug, not weather"),
        (b"*3\r\n$1\r\na\r\n$1\r\nx\r\n$1\r\ny\r\n", "a bug, not weather"),
        (b"*3\r\n:1\r\n$1\r\n1\r\n$1\r\n1\r\n", "a bug, not weather"),
        (b"", "cannot be reached"),
    ],
)
def test_whatever_a_server_answers_is_told_by_one_kind_of_error(answer: bytes, says: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            line, _ = listener.accept()
            with line:
                while answer and b"EVAL" not in (asked := line.recv(65_536)) and asked:
                    line.sendall(b"+OK\r\n" * asked.count(b"SETINFO"))
                line.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        store = RedisStore(f"redis://127.0.0.1:{listener.getsockname()[1]}")
        assert says in refused(store)
        store.close()
        thread.join(LIMIT)


def test_a_store_that_is_closed_has_no_connection(running: Server) -> None:
    def connections() -> int:
        return int(running.ask("INFO", "clients")["connected_clients"])

    before, store = connections(), RedisStore(running.url)
    assert put(store, None, b"a")
    assert connections() > before
    kept = store._client()  # Else whatever is no longer referred to might do it.
    store.close()
    until(lambda: connections() == before)
    assert kept is not store._client()


# ------------------------------------------------------------------------------------------------------ what it may do


def user(running: Server, *rights: str) -> RedisStore:
    running.ask("ACL", "SETUSER", "evertoken", "reset", "on", f">{PASSWORD}", "resetchannels", *rights)
    return RedisStore(f"redis://evertoken:{PASSWORD}@127.0.0.1:{running.port}/0")


def test_these_rights_are_enough(running: Server) -> None:
    store = user(running, "~evertoken:*", "&evertoken:*", *RIGHTS)
    called = threading.Event()
    end = store.subscribe(KEY, called.set)
    assert end is not None
    until(lambda: bool(running.ask("PUBSUB", "NUMSUB", f"evertoken:1:{KEY}")[1]))
    assert put(store, None, b"a")
    assert put(store, b"a", b"b")
    assert load(store) == b"b"
    assert called.wait(LIMIT)
    assert put(store, b"b", None)
    end()
    store.close()


@pytest.mark.parametrize("right", [right for right in RIGHTS if right not in ("+publish", "+subscribe")])
def test_each_of_these_rights_is_needed_and_what_is_missing_is_told(running: Server, right: str) -> None:
    store = user(running, "~evertoken:*", "&evertoken:*", *(each for each in RIGHTS if each != right))

    def all_of_it() -> None:
        found = load(store)
        put(store, found, b"a")
        put(store, b"a", None)

    with pytest.raises(StoreTrouble) as caught:
        all_of_it()
    assert "who needs eval, get, set, del, time and publish" in told(caught.value)
    store.close()


def test_who_may_not_publish_or_subscribe_shares_all_the_same(running: Server) -> None:
    store = user(running, "~evertoken:*", *RIGHTS[:-2])
    end = store.subscribe(KEY, lambda: None)
    assert end is not None
    assert put(store, None, b"a")
    assert load(store) == b"a"
    end()
    store.close()


def test_another_s_keys_are_out_of_reach(running: Server) -> None:
    store = user(running, "~evertoken:*", "&evertoken:*", *RIGHTS)
    other = RedisStore(f"redis://evertoken:{PASSWORD}@127.0.0.1:{running.port}/0", prefix="other")
    assert load(store) is None
    assert "its ACL does not let this user" in refused(other)
    store.close()
    other.close()


def test_a_wrong_password_is_told_without_it(running: Server) -> None:
    running.ask("ACL", "SETUSER", "evertoken", "reset", "on", ">another")
    store = RedisStore(f"redis://evertoken:{PASSWORD}@127.0.0.1:{running.port}/0")
    text = refused(store)
    assert "does not take the name or the password" in text
    assert PASSWORD not in repr(store)
    with pytest.raises(TypeError, match="pickle"):
        pickle.dumps(store)
    store.close()


# -------------------------------------------------------------------------------------------------------- being told


def test_whoever_waits_is_told_of_a_change_also_after_the_server_was_restarted(running: Server) -> None:
    store, channel = RedisStore(running.url), f"evertoken:1:{KEY}"
    called = threading.Semaphore(0)
    end = store.subscribe(KEY, called.release)
    assert end is not None
    until(lambda: bool(running.ask("PUBSUB", "NUMSUB", channel)[1]))
    assert put(store, None, b"a")
    assert called.acquire(timeout=LIMIT)
    running.restart()
    until(lambda: bool(running.ask("PUBSUB", "NUMSUB", channel)[1]))
    suppressed(lambda: load(store))
    assert put(store, None, b"b")
    assert called.acquire(timeout=LIMIT)
    end()
    until(lambda: not running.ask("PUBSUB", "NUMSUB", channel)[1])
    store.close()


# --------------------------------------------------------------------------------------------------- other ways to it


def test_a_client_of_sentinel_follows_the_master(kind: str) -> None:
    with server(kind) as master, server(kind) as replica:
        replica.follow(master)
        ports = [master.port]
        client = client_of_sentinel(lambda: ports[-1])
        store = RedisStore(client)
        assert put(store, None, b"a")
        until(lambda: replica.ask("GET", f"evertoken:1:{KEY}") == b"a")
        master.kill()
        replica.ask("REPLICAOF", "NO", "ONE")
        ports.append(replica.port)
        until(lambda: suppressed(lambda: load(store)) == b"a")
        assert put(store, b"a", b"b")
        client.close()


def test_a_client_of_a_cluster_will_do(kind: str) -> None:
    with server(kind, "--cluster-enabled", "yes") as node:
        node.ask("CLUSTER", "ADDSLOTS", *range(16_384))
        until(lambda: node.ask("CLUSTER", "INFO").startswith(b"cluster_state:ok"))
        client = redis.RedisCluster("127.0.0.1", node.port)
        store = RedisStore(client)
        assert put(store, None, b"a")
        assert load(RedisStore(client)) == b"a"
        assert store == RedisStore(client)
        client.close()


def test_tls_is_as_the_context_says(running: Server) -> None:
    authority = trustme.CA()
    theirs, mine = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.issue_cert("localhost").configure_cert(theirs)
    authority.issue_cert("me").configure_cert(mine)
    authority.configure_trust(theirs)
    theirs.verify_mode = ssl.CERT_REQUIRED
    with Terminator(theirs, running.port) as port:
        url = f"rediss://localhost:{port}"
        assert "cannot be reached" in refused(RedisStore(url, ssl_context=ssl.create_default_context()))
        authority.configure_trust(mine)
        store = RedisStore(url, ssl_context=mine)
        assert put(store, None, b"a")
        assert load(store) == b"a"
        store.close()


class Terminator:
    """Speaks TLS with the client, and plainly with the server."""

    def __init__(self, context: ssl.SSLContext, port: int) -> None:
        self._context, self._port = context, port
        self._listener = socket.create_server(("127.0.0.1", 0))

    def __enter__(self) -> int:
        threading.Thread(target=self._accept, daemon=True).start()
        port: int = self._listener.getsockname()[1]
        return port

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                line, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(line,), daemon=True).start()

    def _serve(self, line: socket.socket) -> None:
        with suppress(OSError), line, socket.create_connection(("127.0.0.1", self._port)) as plain:
            line.settimeout(LIMIT)
            with self._context.wrap_socket(line, server_side=True) as secure:
                while asked := secure.recv(65_536):
                    plain.sendall(asked)
                    secure.sendall(plain.recv(65_536))


# ------------------------------------------------------------------------------------------------------ wrong arguments


@pytest.mark.parametrize(
    ("url", "arguments", "kind", "says"),
    [
        (f"http://x:{PASSWORD}@h", {}, ValueError, "redis://HOST:PORT/DB"),
        (f"redis://x:{PASSWORD}@h:port", {}, ValueError, "redis://HOST:PORT/DB"),
        (PASSWORD, {}, ValueError, "redis://HOST:PORT/DB"),
        (f"redis://x:{PASSWORD}@h?decode_responses=True", {}, ValueError, "decode_responses"),
        ("redis://h", {"ssl_context": ssl.create_default_context()}, ValueError, "rediss://"),
        ("redis://h", {"ssl_context": True}, TypeError, "ssl.SSLContext"),
        ("redis://h", {"prefix": ""}, ValueError, "visible ASCII"),
        ("redis://h", {"prefix": "a\n"}, ValueError, "visible ASCII"),
        (None, {}, TypeError, "a URL or a client"),
        (redis.Redis, {}, TypeError, "a URL or a client"),
        (redis.asyncio.Redis(), {}, TypeError, "a client that blocks"),
        (redis.Redis(decode_responses=True), {}, ValueError, "decode_responses=False"),
        (redis.Redis(), {"ssl_context": ssl.create_default_context()}, ValueError, "a client has its own"),
    ],
)
def test_what_will_not_do_is_refused_where_it_is_given(
    url: object, arguments: dict[str, Any], kind: type[Exception], says: str
) -> None:
    with pytest.raises(kind, match=says) as caught:
        RedisStore(cast("Any", url), **arguments)
    assert PASSWORD not in str(caught.value)


def test_equal_urls_and_prefixes_make_equal_stores() -> None:
    assert RedisStore("redis://h") == RedisStore("redis://h")
    assert RedisStore("redis://h") != RedisStore("redis://h/1")
    assert RedisStore("redis://h") != RedisStore("redis://h", prefix="another")
    assert repr(RedisStore(f"redis://me:{PASSWORD}@h:1/2")) == "<RedisStore at h:1/2, prefix 'evertoken'>"
    assert repr(RedisStore("unix:///run/redis.sock")) == "<RedisStore at /run/redis.sock, prefix 'evertoken'>"
