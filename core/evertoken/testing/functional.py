"""The machine as plain functions over frozen values: for those who fold, branch, and look at what may happen next.

    state = settle(policy, first_state(policy), now)
    for happened in enabled_inputs(policy, state, now):
        after = step(policy, state, happened)
        broken = [*broken_by(policy, state, happened, after), *broken_in(policy, after, now)]

``TokenMachine`` is a shell around these: its ``state_value`` is a State, each of its inputs one ``step``. None of them
reads a clock or draws a number: what happens carries its moment, its draw, and what an answer meant.

A process that ends and goes on from a snapshot is no input of the machine, but a value as well: ``restarted(policy,
state, Restart(taken_at, now, elapsed, secrets))`` is the state of the next process, on its own clock.
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
from evertoken.testing._restart import Restart, restarted

__all__ = (
    "AnswerReceived",
    "BlockLifted",
    "CredentialsReplaced",
    "DoorClosed",
    "ExchangeStarted",
    "Input",
    "RequestClaimed",
    "Restart",
    "SharedReceived",
    "SharedRecord",
    "State",
    "TokenRejected",
    "decide",
    "first_state",
    "freshness",
    "publish",
    "request_state",
    "restarted",
    "settle",
    "step",
)
