"""Certificates, made once for all cells; and which files belong to which Python."""

from __future__ import annotations

import sys

import pytest

from tests.loops.endpoint import TlsFiles

collect_ignore = [] if sys.version_info >= (3, 12) else ["test_simulated_hosts.py"]
"""What an older Python has no loops for is not collected there, and `make newer` has a newer one."""


@pytest.fixture(scope="session")
def tls(tmp_path_factory: pytest.TempPathFactory) -> TlsFiles:
    return TlsFiles(tmp_path_factory.mktemp("tls"))
