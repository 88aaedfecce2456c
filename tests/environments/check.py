"""``python -I check.py EXTRA``: run where the wheel is installed with that extra and nothing else. No source tree near.

A plain script, since most of these environments have no pytest. It asserts what must hold with any extra or none, and
then what the extra is for: a token from an emulator on this machine, an API call, another token after a refusal.
"""

from __future__ import annotations

import asyncio
import base64
import http.client
import os
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from evertoken import ClientCredentials
    from evertoken_transports import asyncio as ours_of_asyncio
    from evertoken_transports import trio as ours_of_trio
    from evertoken_transports.emulator import Emulator

    Source = ours_of_asyncio.TokenSource | ours_of_trio.TokenSource

__all__ = ("EXTRAS", "main")

HERE = Path(sys.prefix)
COMMAND = str(HERE / ("Scripts" if os.name == "nt" else "bin") / "evertoken")
LIMIT = 120.0
TYPED = {"evertoken/py.typed", "evertoken_transports/py.typed"}
# What each command needs. The rest of what it does, it does with any extra or none.
NEEDED = {
    "demo": ("h11", "httpx", "rich"),
    "doctor": ("h11",),
    "emulate": ("h11",),
    "header": ("h11",),
    "simulate": ("rich",),
    "status": (),
    "token": ("h11",),
    "unblock": (),
}


# With any extra, or none
# -----------------------


def check_both_packages_come_from_the_wheel() -> None:
    for name in ("evertoken", "evertoken_transports"):
        file = import_module(name).__file__
        assert file is not None
        assert Path(file).is_relative_to(HERE), file


def check_the_wheel_holds_the_two_packages_and_the_plugin_and_no_tests() -> None:
    files = [str(path) for path in metadata.files("evertoken") or []]
    dist_info = f"evertoken-{metadata.version('evertoken')}.dist-info"
    places = {file.partition("/")[0] for file in files if not file.startswith("..")}
    plugin = "_evertoken_pytest.py"
    assert places - {"__pycache__"} == {"evertoken", "evertoken_transports", plugin, dist_info}, places
    assert set(files) >= TYPED
    assert any(file.endswith("/licenses/LICENSE") for file in files), "the licence is missing"


def check_the_machine_keeps_a_token() -> None:
    from evertoken import HttpResponse, SendRequest, TokenMachine, Wait, mangopay

    machine = TokenMachine(mangopay.sandbox(client_id="smoke", api_key="made up"), draw=lambda: 0.5)
    assert isinstance(machine.poll(0.0), SendRequest)
    request = machine.start_request(0.0)
    assert request.url == "https://api.sandbox.mangopay.com/v2.01/oauth/token"
    body = b'{"access_token": "made-up-token", "token_type": "Bearer", "expires_in": 3600}'
    machine.receive_response(0.25, request, HttpResponse(200, [("Content-Type", "application/json")], body))
    assert machine.authorization(1.0) == "Bearer made-up-token"
    assert isinstance(machine.poll(1.0), Wait)


def ran(*command: str) -> subprocess.CompletedProcess[str]:
    run = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False)
    assert "Traceback" not in run.stderr, run
    return run


def check_the_command_tells_its_use_and_its_version() -> None:
    for asked in (["--help"], *([name, "--help"] for name in NEEDED)):
        run = ran(COMMAND, *asked)
        assert (run.returncode, run.stderr) == (0, ""), run
        assert run.stdout.startswith("usage: evertoken"), run
    for command in ([COMMAND], [sys.executable, "-I", "-m", "evertoken"]):
        run = ran(*command, "--version")
        assert (run.returncode, run.stdout) == (0, f"evertoken {metadata.version('evertoken')}\n"), run


def check_a_command_works_or_names_each_package_that_it_needs() -> None:
    for name, needed in NEEDED.items():
        missing = [package for package in needed if find_spec(package) is None]
        # Each ends at once: in wrong usage, or in saying so.
        run = ran(COMMAND, name, *WRONG[name])
        assert run.returncode == 2, run
        if missing:
            assert f"pip install {' '.join(missing)}" in run.stderr, run
        else:
            assert "pip install" not in run.stderr, run


# What each module of ours needs. None of them is imported unasked.
LIBRARIES = {
    "asyncio": None,
    "emulator": "h11",
    "h11": "h11",
    "httpx": "httpx",
    "httpx2": "httpx2",
    "otel": "opentelemetry",
    "stores": None,
    "testing.hypothesis": "hypothesis",
    "threads": None,
    "trio": "trio",
}


def check_a_module_can_be_imported_or_names_the_package_that_it_needs() -> None:
    for name, library in LIBRARIES.items():
        complaint = complaint_of(f"evertoken_transports.{name}")
        if library is None or find_spec(library) is not None:
            assert complaint is None, complaint
        else:
            assert complaint is not None, name
            what = "'evertoken[otel]'" if name == "otel" else library
            assert f"pip install {what}" in complaint, complaint


def complaint_of(module: str) -> str | None:
    """What is wrong when ``module`` is imported."""
    try:
        import_module(module)
    except ImportError as error:
        return str(error)
    return None


WRONG = {
    "demo": ["--seconds", "0"],
    "emulate": ["--client-id", "a:b"],
    "simulate": ["--days", "0"],
    **{name: [] for name in ("doctor", "header", "status", "token", "unblock")},
}


# What each extra is for
# ----------------------


def emulated() -> tuple[Emulator, Callable[[], ClientCredentials]]:
    """An emulator, to be entered, and a grant for it."""
    from evertoken import mangopay
    from evertoken_transports.emulator import Emulator

    emulator = Emulator(client_id="shop", api_key="made-up-key")
    return emulator, lambda: mangopay.sandbox("shop", "made-up-key", base_url=emulator.base_url)


def status_of(emulator: Emulator, header: str) -> int:
    """What the API answers to a call that carries ``header``."""
    connection = http.client.HTTPConnection(emulator.base_url.removeprefix("http://"), timeout=LIMIT)
    try:
        connection.request("GET", "/v2.01/shop/users", headers={"Authorization": header})
        return connection.getresponse().status
    finally:
        connection.close()


def check_threads() -> None:
    from evertoken import read_challenge
    from evertoken_transports.threads import TokenSource

    emulator, grant = emulated()
    with emulator, TokenSource(grant()) as source:
        first = source.authorization()
        assert source.authorization() == first
        assert status_of(emulator, first) == 200
        source.token_rejected(first, read_challenge(401, [("WWW-Authenticate", 'Bearer error="invalid_token"')], b""))
        second = source.authorization()
        assert second != first
        assert status_of(emulator, second) == 200


async def a_task(source: Source, emulator: Emulator) -> None:
    async with source:
        header = await source.authorization()
        assert status_of(emulator, header) == 200
        assert source.authorization_nowait() == header


def check_asyncio() -> None:
    from evertoken_transports.asyncio import TokenSource

    emulator, grant = emulated()
    with emulator:
        asyncio.run(a_task(TokenSource(grant()), emulator))


def check_trio() -> None:
    import trio

    from evertoken_transports.trio import TokenSource

    emulator, grant = emulated()
    with emulator:
        trio.run(a_task, TokenSource(grant()), emulator)


def check_httpx(name: str = "httpx") -> None:
    library, ours = import_module(name), import_module(f"evertoken_transports.{name}")
    emulator, grant = emulated()

    async def main() -> None:
        async with library.AsyncClient(auth=auth, base_url=auth.api_base, trust_env=False) as client:
            assert (await client.get("/users")).status_code == 200

    with emulator:
        auth = ours.BearerAuth(grant())
        with library.Client(auth=auth, base_url=auth.api_base, trust_env=False) as client:
            assert client.get("/users").status_code == 200
            with emulator.server() as server:
                server.revoke_all(server.arrivals[-1].now)
            assert client.get("/users").status_code == 200
        asyncio.run(main())
        if find_spec("trio"):
            import_module("trio").run(main)
        asked = [arrival.status for arrival in emulator.arrivals if arrival.method == "POST"]
        assert asked == [200, 200], asked


def check_httpx2() -> None:
    check_httpx("httpx2")


TEST = """
from evertoken.testing import TokenFault

def test_my_sdk(mangopay_server):
    source = mangopay_server.token_source()
    mangopay_server.next_token_requests(TokenFault.SERVER_ERROR)
    source.authorization(timeout=60)
    mangopay_server.advance(3600)
    source.authorization()
    assert mangopay_server.token_requests == 3
"""


def check_pytest() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "test_my_sdk.py").write_text(TEST, encoding="utf-8")
        run = ran(sys.executable, "-I", "-m", "pytest", "-q", "-p", "no:cacheprovider", folder)
    assert run.returncode == 0, run
    assert "1 passed" in run.stdout, run


def check_hypothesis() -> None:
    from hypothesis import HealthCheck, given, settings
    from hypothesis.stateful import run_state_machine_as_test

    from evertoken import HttpResponse
    from evertoken_transports.testing import hypothesis as ours

    few = settings(
        max_examples=10, database=None, deadline=None, suppress_health_check=[*HealthCheck.__members__.values()]
    )

    @few
    @given(ours.responses(), ours.policies(), ours.scenarios())
    def draws(response: HttpResponse, policy: object, scenario: object) -> None:
        assert isinstance(response, HttpResponse)
        assert policy
        assert scenario

    draws()
    run_state_machine_as_test(ours.TokenMachineStateMachine, settings=few)


def check_cli() -> None:
    run = ran(COMMAND, "simulate", "--seed", "1", "--days", "0.05", "--quiet")
    assert (run.returncode, run.stderr) == (0, ""), run
    run = ran(COMMAND, "demo", "--plain", "--seconds", "3", "--threads", "2", "--chapters", "revoked")
    # A verdict it must come to. Whether a slow machine kept up is not asked here: tests/real/test_demo.py does.
    assert "token requests in flight at once" in run.stdout, run
    with subprocess.Popen([COMMAND, "emulate", "--port", "0"], stdout=subprocess.PIPE, text=True) as emulator:
        assert emulator.stdout is not None
        found = next(url for line in emulator.stdout if (url := re.search(r"http://([0-9.:]+)", line)))
        connection = http.client.HTTPConnection(found[1], timeout=LIMIT)
        connection.request("GET", "/v2.01/demo/users")
        assert connection.getresponse().status == 401
        connection.close()
        emulator.terminate()


def check_file() -> None:
    from evertoken_transports.stores import FileStore

    with tempfile.TemporaryDirectory() as folder:
        one, other = FileStore(Path(folder, "store")), FileStore(Path(folder, "store"))
        assert one.swap("0" * 64, None, b"kept", lasts=60.0, holder="me", timeout=LIMIT).done
        found = other.load("0" * 64, timeout=LIMIT)
        assert (found.value, found.holder_lives) == (b"kept", True)
        one.close()


def check_otel() -> None:
    from evertoken import HttpResponse, mangopay
    from evertoken_transports.otel import Telemetry
    from evertoken_transports.threads import TokenSource

    body = b'{"access_token": "made-up-token", "token_type": "Bearer", "expires_in": 3600}'
    source = TokenSource(
        mangopay.sandbox(client_id="smoke", api_key="made up"),
        exchange=lambda _: HttpResponse(200, (), body),
        on_event=Telemetry(),
    )
    assert source.authorization() == "Bearer made-up-token"
    assert source.readiness().ready


def check_redis() -> None:
    from evertoken.sharing import StoreTrouble
    from evertoken_transports.stores import RedisStore

    with socket.socket() as line:  # A port on which nobody listens.
        line.bind(("127.0.0.1", 0))
        store, told = RedisStore(f"redis://127.0.0.1:{line.getsockname()[1]}"), ""
        try:
            store.load("0" * 64, timeout=LIMIT)
        except StoreTrouble as trouble:
            told = str(trouble)
        assert "cannot be reached" in told, told


def check_encryption() -> None:
    from cryptography.fernet import Fernet

    from evertoken_transports.stores._cipher import made_cipher

    cipher = made_cipher((Fernet.generate_key(),))
    assert cipher is not None
    assert cipher.decrypt(cipher.encrypt(b"kept")) == b"kept"


def check_jwt() -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from evertoken import ClientCredentials, Signing, TokenEndpoint
    from evertoken_transports.jwt import PrivateKeyJwt

    key = Ed25519PrivateKey.generate()
    manner = PrivateKeyJwt(key)
    grant = ClientCredentials(TokenEndpoint("https://as.example/token", manner), "client")
    content, _, signature = manner.assertion(grant, Signing(0.0, bytes(16))).rpartition(".")
    key.public_key().verify(base64.urlsafe_b64decode(f"{signature}=="), content.encode())


RAW = (check_threads, check_asyncio)
EXTRAS: dict[str, tuple[Callable[[], None], ...]] = {
    "none": (),
    "cli": (*RAW, check_httpx, check_file, check_cli),
    "encryption": (check_encryption,),
    "file": (check_file,),
    "h11": RAW,
    "httpx": (check_httpx,),
    "httpx2": (check_httpx2,),
    "hypothesis": (check_hypothesis,),
    "jwt": (check_jwt,),
    "otel": (check_otel,),
    "pytest": (check_pytest,),
    "redis": (check_redis,),
    "trio": (*RAW, check_trio),
    "all": (
        *(*RAW, check_trio, check_httpx, check_httpx2, check_pytest, check_hypothesis, check_cli),
        *(check_file, check_redis, check_encryption, check_jwt, check_otel),
    ),
}
ALWAYS = (
    check_both_packages_come_from_the_wheel,
    check_the_wheel_holds_the_two_packages_and_the_plugin_and_no_tests,
    check_the_machine_keeps_a_token,
    check_the_command_tells_its_use_and_its_version,
    check_a_command_works_or_names_each_package_that_it_needs,
    check_a_module_can_be_imported_or_names_the_package_that_it_needs,
)


def main(extra: str) -> None:
    """Run every check of ``extra``."""
    for check in (*ALWAYS, *EXTRAS[extra]):
        check()
        print(f"{extra}: {check.__name__.removeprefix('check_').replace('_', ' ')}: ok")


if __name__ == "__main__":
    main(*sys.argv[1:])
