"""Doubles of the parsers: the machine does all that it is told, but what the server meant does not reach it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from evertoken import Challenge, ClientCredentials, HttpResponse
from evertoken._answer import read_answer
from evertoken._challenge import read_challenge
from evertoken._grant import Profile
from evertoken._http import Headers
from evertoken.outcomes import Outcome
from tests.ablations.double import everywhere, whole_machine

__all__ = ()

_WAITS = ("retry-after", "x-ratelimit-reset", "x-ratelimit-remaining")


def _sees(patch: pytest.MonkeyPatch, status: int, another: Callable[[HttpResponse], HttpResponse]) -> None:
    """Let every machine see another answer of its token endpoint than one with this status."""

    def read(
        grant: ClientCredentials, response: HttpResponse, *, max_body: int, secrets: tuple[str, ...] = ()
    ) -> Outcome:
        seen = another(response) if response.status == status else response
        return read_answer(grant, seen, max_body=max_body, secrets=secrets)

    everywhere(patch, read_answer, read)


def _without_waits(response: HttpResponse) -> HttpResponse:
    left = [(name, value) for name, value in response.headers if name.lower() not in _WAITS]
    return HttpResponse(response.status, left, response.body)


def _as_hiccup(response: HttpResponse) -> HttpResponse:
    return HttpResponse(502, response.headers, b"")


def _reads(patch: pytest.MonkeyPatch, one: Challenge, as_another: Challenge) -> None:
    """Let everybody take one word of the API for another."""

    def read(status: int, headers: Headers, body: bytes, profile: Profile) -> Challenge:
        challenge = read_challenge(status, headers, body, profile)
        return as_another if challenge is one else challenge

    everywhere(patch, read_challenge, read)


@whole_machine("the wait that a 429 states")
def hears_no_wait_on_a_429(patch: pytest.MonkeyPatch) -> None:
    """How long a 429 says that is to be waited is not found in its headers."""
    _sees(patch, 429, _without_waits)


@whole_machine("the wait that a 5xx states")
def hears_no_wait_on_a_500(patch: pytest.MonkeyPatch) -> None:
    """How long a 500 says that is to be waited is not found in its headers."""
    _sees(patch, 500, _without_waits)


@whole_machine("a lock is read as one")
def takes_a_lock_for_a_hiccup(patch: pytest.MonkeyPatch) -> None:
    """A 400 is a failure like any other, whatever its code says."""
    _sees(patch, 400, _as_hiccup)


@whole_machine("a refusal is read as one")
def takes_a_refusal_for_a_hiccup(patch: pytest.MonkeyPatch) -> None:
    """A 401 of the token endpoint is a failure like any other."""
    _sees(patch, 401, _as_hiccup)


@whole_machine("a 403 is no hiccup")
def takes_a_403_for_a_hiccup(patch: pytest.MonkeyPatch) -> None:
    """A 403 of the token endpoint, as from an allowlist, is a failure like any other."""
    _sees(patch, 403, _as_hiccup)


@whole_machine("SCA is not about the token")
def takes_sca_for_a_bad_token(patch: pytest.MonkeyPatch) -> None:
    """A challenge that asks the user to act is taken for one that names the token."""
    _reads(patch, Challenge.SCA, Challenge.TOKEN)


@whole_machine("an API's word about the account")
def overhears_a_lock_of_the_api(patch: pytest.MonkeyPatch) -> None:
    """That the account is locked is not understood where the API says it."""
    _reads(patch, Challenge.LOCKED, Challenge.NONE)
