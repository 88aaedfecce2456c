"""The machine as plain functions over frozen values: for those who fold, branch, and look at what may happen next.

::

    state = settle(policy, first_state(policy), now)
    for happened in enabled_inputs(policy, state, now):
        after, happenings = step(policy, state, happened)
        broken = [*broken_by(policy, state, happened, after, happenings), *broken_in(policy, after, now)]

``TokenMachine`` is a shell around these: its ``state_value`` is a State, and each of its inputs is one ``step``, which
gives beside the next state what came of it (:mod:`evertoken.happenings`). None of them reads a clock or draws a number:
what happens carries its moment, its draw, and what an answer meant.

A process that ends and goes on from a snapshot is no input of the machine, but a value as well: ``restarted(policy,
state, Restart(taken_at, now, elapsed, secrets))`` is the state of the next process, on its own clock.

Three more lead back to real machines: :func:`machine_at` makes one in a state, :func:`feed` does an input to it, and
:func:`request_of` is what travels for an attempt of its state.
"""

from __future__ import annotations

from collections.abc import Callable

from evertoken._checks import min_ttl_on_the_grid, on_the_grid
from evertoken._grammar import (
    AnswerReceived,
    BlockLifted,
    BlockReported,
    CredentialsReplaced,
    Input,
    RequestClaimed,
    TokenRejected,
    TokenWorked,
    Wait,
)
from evertoken._grant import ClientCredentials
from evertoken._http import TokenRequest
from evertoken._look import decide, freshness, publish, request_state
from evertoken._machine import TokenMachine
from evertoken._policy import Policy
from evertoken._problems import LocalProtocolError
from evertoken._secrecy import replace
from evertoken._states import Attempt, State, first_state
from evertoken._step import settle, step
from evertoken.testing._restart import Restart, restarted

__all__ = (
    "AnswerReceived",
    "BlockLifted",
    "BlockReported",
    "CredentialsReplaced",
    "Input",
    "RequestClaimed",
    "Restart",
    "State",
    "TokenRejected",
    "TokenWorked",
    "decide",
    "feed",
    "first_state",
    "freshness",
    "machine_at",
    "publish",
    "request_of",
    "request_state",
    "restarted",
    "settle",
    "step",
)


def machine_at(
    grant: ClientCredentials, state: State, *, policy: Policy | None = None, draw: Callable[[], float]
) -> TokenMachine:
    """A machine of ``grant`` that begins in ``state``. ``policy`` has to be that under which the state came about."""
    machine = TokenMachine(grant, policy=policy, draw=draw)
    # The functions and the shell around them are one piece.
    machine._become(state)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    return machine


def feed(machine: TokenMachine, happened: Input) -> None:
    """Do ``happened`` to ``machine``, which then is in the state that ``step`` gives. Its ``stepped`` is called for it.

    The moment of ``happened`` is rounded down to the tick, as the machine's methods do.

    The machine draws no number, since the input has its own. After ``CredentialsReplaced`` it still has the credentials
    that it had, since the input has none: to give it others, call ``replace_credentials`` instead.

    Raises:
        LocalProtocolError: ``happened`` is a claim, and ``poll`` says Wait. Nothing has changed.
        ValueError: the moment of ``happened`` is not one that the machine's methods would take.
    """
    happened = replace(happened, now=on_the_grid(happened.now))
    if isinstance(happened, RequestClaimed):
        happened = replace(happened, min_ttl=min_ttl_on_the_grid(happened.min_ttl))
        action = machine.poll(happened.now, happened.min_ttl)
        if isinstance(action, Wait):
            raise LocalProtocolError(f"no token request may be started now: wait ({action.reason.value})")
    machine.stepped(happened, *step(machine.policy, machine.state_value, happened))


def request_of(machine: TokenMachine, attempt: Attempt) -> TokenRequest:
    """The token request of ``attempt``, which is the ``attempt`` or the ``lost`` one of the machine's ``state_value``.

    It is made with the credentials that the machine has now. With it a machine that :func:`machine_at` made can be told
    an answer in bytes: ``machine.receive_response(now, request_of(machine, attempt), response)``.
    """
    # The functions and the shell around them are one piece.
    return machine._request(machine.grant, attempt, None)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
