"""Property tests around a TokenMachine: strategies, and a state machine of Hypothesis. Needs ``evertoken[hypothesis]``.

::

    class MySdk(TokenMachineStateMachine): ...                     every law, after every step of any life
    TestMySdk = MySdk.TestCase

    @given(responses())
    def test_my_transport_carries_anything(response: HttpResponse) -> None: ...

    @given(scenarios(policy=MY_POLICY))
    def test_my_policy_survives(scenario: Scenario) -> None:
        assert simulate(scenario).ok

Values shrink towards what is plainest: fair weather, short waits, few clients. In a failing example they are printed so
that they can be pasted into a test, tokens included: all of them are made up.
"""

from __future__ import annotations

try:
    import hypothesis as _hypothesis
except ImportError as error:
    raise ImportError(
        "evertoken_transports.testing.hypothesis needs Hypothesis: pip install hypothesis", name=error.name
    ) from error

from evertoken_transports.testing._hypothesis_laws import LawBroken
from evertoken_transports.testing._hypothesis_machine import TokenMachineStateMachine
from evertoken_transports.testing._hypothesis_messages import (
    access_tokens,
    api_responses,
    challenges,
    error_responses,
    garbage_responses,
    granted_responses,
    outcomes,
    responses,
)
from evertoken_transports.testing._hypothesis_plans import inputs, policies, scenarios, scripts

__all__ = (
    "LawBroken",
    "TokenMachineStateMachine",
    "access_tokens",
    "api_responses",
    "challenges",
    "error_responses",
    "garbage_responses",
    "granted_responses",
    "inputs",
    "outcomes",
    "policies",
    "responses",
    "scenarios",
    "scripts",
)

del _hypothesis
