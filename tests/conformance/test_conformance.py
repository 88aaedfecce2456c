"""Every scenario of the list, in every runtime, with every library."""

from __future__ import annotations

import pytest

from tests.conformance.runtimes import RUNTIMES, Runtime
from tests.conformance.scenarios import SCENARIOS
from tests.conformance.stage import play
from tests.conformance.wires import LIBRARIES

COLUMNS = [
    pytest.param(runtime, library, id=f"{runtime.name}+{library}") for runtime in RUNTIMES for library in LIBRARIES
]


@pytest.mark.parametrize(("runtime", "library"), COLUMNS)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_runtime_keeps_the_promise(scenario: str, runtime: type[Runtime], library: str) -> None:
    play(SCENARIOS[scenario], runtime, library)
