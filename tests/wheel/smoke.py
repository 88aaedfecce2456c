"""Run by `make wheel` in an environment that has the wheel, what it asks for, and nothing else. No source tree near.

It runs before pytest is installed there, so it is a plain script: each check is a function that asserts.
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

HERE = Path(sys.prefix)
# What a new virtual environment may bring itself.
BROUGHT_BY_VENV = {"pip", "setuptools", "wheel"}
TYPED = {"evertoken/py.typed", "evertoken_transports/py.typed"}


def check_both_packages_come_from_the_wheel() -> None:
    import evertoken
    import evertoken_transports

    for package in (evertoken, evertoken_transports):
        assert package.__file__ is not None
        assert Path(package.__file__).is_relative_to(HERE), package.__file__


def check_nothing_is_installed_but_what_the_wheel_asks_for() -> None:
    names = {dist.metadata["Name"].lower().replace("_", "-") for dist in metadata.distributions()}
    assert names - BROUGHT_BY_VENV == {"evertoken", "typing-extensions"}, names


def check_the_wheel_holds_the_two_packages_and_the_plugin_and_no_tests() -> None:
    files = [str(path) for path in metadata.files("evertoken") or []]
    dist_info = f"evertoken-{metadata.version('evertoken')}.dist-info"
    places = {file.partition("/")[0] for file in files if not file.startswith("..")}
    plugin = "_evertoken_pytest.py"
    assert places - {"__pycache__"} == {"evertoken", "evertoken_transports", plugin, dist_info}, places
    assert set(files) >= TYPED
    assert any(file.endswith("/licenses/LICENSE") for file in files), "the licence is missing"


def check_a_token_is_kept() -> None:
    from evertoken import HttpResponse, SendRequest, TokenMachine, Wait, mangopay

    machine = TokenMachine(mangopay.sandbox(client_id="smoke", api_key="made up"), draw=lambda: 0.5)
    assert isinstance(machine.poll(0.0), SendRequest)
    request = machine.start_request(0.0)
    assert request.url == "https://api.sandbox.mangopay.com/v2.01/oauth/token"
    body = b'{"access_token": "made-up-token", "token_type": "Bearer", "expires_in": 3600}'
    machine.receive_response(0.25, request, HttpResponse(200, [("Content-Type", "application/json")], body))
    assert machine.authorization(1.0) == "Bearer made-up-token"
    assert isinstance(machine.poll(1.0), Wait)


def check_the_command_names_the_extra_that_it_needs() -> None:
    command = HERE / ("Scripts" if os.name == "nt" else "bin") / "evertoken"
    run = subprocess.run([command, "demo"], capture_output=True, text=True, timeout=60, check=False)
    assert run.returncode == 2, run
    assert "evertoken[cli]" in run.stderr, run
    assert "Traceback" not in run.stderr, run


def main() -> None:
    """Run every check and close with a line that says how many passed."""
    assert not os.environ.get("PYTHONPATH"), "PYTHONPATH is set: the wheel may not be what is imported"
    checks = [thing for name, thing in sorted(globals().items()) if name.startswith("check_")]
    for check in checks:
        check()
        print(f"ok: {check.__name__.removeprefix('check_').replace('_', ' ')}")
    print(f"{len(checks)} passed, 0 failed")


if __name__ == "__main__":
    main()
