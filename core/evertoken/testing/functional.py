"""The machine as plain functions over frozen values: for those who fold, branch, and look at what may happen next.

    state = settle(policy, first_state(policy), now)
    for happened in enabled_inputs(policy, state, now):
        after = step(policy, state, happened)
        broken = [*broken_by(policy, state, happened, after), *broken_in(policy, after, now)]

``TokenMachine`` is a shell around these: its ``state_value`` is a State, each of its inputs one ``step``. None of them
reads a clock or draws a number: what happens carries its moment, its draw, and what an answer meant.
"""

from __future__ import annotations

from evertoken._decide import decide, freshness, publish, request_state, settle
from evertoken._inputs import (
    AnswerReceived,
    BlockLifted,
    CredentialsReplaced,
    DoorClosed,
    ExchangeStarted,
    Input,
    RequestClaimed,
    SharedReceived,
    SharedRecord,
    TokenRejected,
)
from evertoken._states import State, first_state
from evertoken._step import step

__all__ = (
    "AnswerReceived",
    "BlockLifted",
    "CredentialsReplaced",
    "DoorClosed",
    "ExchangeStarted",
    "Input",
    "RequestClaimed",
    "SharedReceived",
    "SharedRecord",
    "State",
    "TokenRejected",
    "decide",
    "first_state",
    "freshness",
    "publish",
    "request_state",
    "settle",
    "step",
)
