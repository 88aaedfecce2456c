"""Nothing that POSIX alone has is needed to import this library, or to get a token by threads.

Windows is not tried. This takes from a POSIX system what Windows does not have, as far as Python shows it, and looks
whether anything of ours misses it.
"""

from __future__ import annotations

import os
import subprocess
import sys

from tests.kits.source_tree import TRANSPORTS

MODULES = ("fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty", "_posixsubprocess")

NAMES = {
    "os": "fork forkpty register_at_fork getuid geteuid getgid getegid getpgid setsid getloadavg uname chown lchown "
    "mkfifo sched_getaffinity sched_yield killpg nice pread pwrite posix_spawn waitid wait wait3 wait4 statvfs sysconf "
    "O_CLOEXEC O_NOFOLLOW O_DIRECTORY O_NONBLOCK O_SYNC WNOHANG",
    "signal": "SIGKILL SIGHUP SIGQUIT SIGALRM SIGCHLD SIGUSR1 SIGUSR2 SIGPIPE SIGSTOP SIGCONT SIGTSTP alarm setitimer "
    "pause pthread_kill pthread_sigmask sigwait siginterrupt",
    "time": "clock_gettime clock_settime clock_getres clock_gettime_ns pthread_getcpuclockid tzset CLOCK_BOOTTIME "
    "CLOCK_MONOTONIC CLOCK_MONOTONIC_RAW CLOCK_REALTIME CLOCK_TAI CLOCK_UPTIME_RAW",
    "socket": "AF_UNIX SO_REUSEPORT MSG_DONTWAIT MSG_NOSIGNAL SCM_RIGHTS SOCK_CLOEXEC SOCK_NONBLOCK sethostname",
    "select": "poll epoll kqueue",
}

# What others import is not looked at: it is loaded before anything is taken away.
ON_A_POORER_SYSTEM = """
import importlib, pkgutil, sys
import asyncio, concurrent.futures, http.client, http.server, logging, multiprocessing, random, socket, ssl, subprocess
import select, selectors, signal, tempfile, threading, time, urllib.request, uuid, webbrowser
import h11, httpx, httpcore, httpx2, httpcore2, hypothesis, hypothesis.stateful, pytest, rich.live, rich.console, trio
import aiohttp, anyio, requests, trio.testing
import _pytest.assertion.rewrite
httpx.Client().close(); httpx2.Client().close()

for name in {modules!r}:
    sys.modules[name] = None
for module, names in {names!r}.items():
    for name in names.split():
        if hasattr(sys.modules[module], name):
            delattr(sys.modules[module], name)

sys.platform = "another"

import evertoken, evertoken_transports
for package in (evertoken, evertoken_transports):
    for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not found.name.endswith("__main__") and ".adapters." not in found.name:  # Their SDKs are not here.
            importlib.import_module(found.name)

from evertoken import HttpResponse, mangopay
from evertoken_transports.threads import TokenSource
answer = b'{{"access_token":"abc","token_type":"Bearer","expires_in":1200}}'
source = TokenSource(mangopay.sandbox("id", "key"), exchange=lambda request: HttpResponse(200, (), answer))
print(source.authorization())
"""


def test_every_module_is_imported_and_a_token_got_without_what_only_posix_has() -> None:
    script = ON_A_POORER_SYSTEM.format(modules=MODULES, names=NAMES)
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(TRANSPORTS.parent), *filter(None, sys.path)])},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert run.stderr == ""
    assert run.stdout == "Bearer abc\n"
