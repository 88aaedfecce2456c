"""All that ``evertoken`` offers."""

from __future__ import annotations

from evertoken import happenings, mangopay, outcomes
from evertoken._challenge import Challenge, read_challenge
from evertoken._grammar import Rejection, SendReason, SendRequest, Wait, WaitReason
from evertoken._grant import (
    AuthenticationParts,
    BasicAuthentication,
    ClientAssertion,
    ClientAuthentication,
    ClientCredentials,
    PostAuthentication,
    Profile,
    SecretSource,
    SignedAuthentication,
    Signing,
    TokenEndpoint,
)
from evertoken._http import HttpResponse, Seen, TokenRequest
from evertoken._look import Explanation
from evertoken._machine import TokenMachine
from evertoken._patience import GiveUp, Ready, next_move
from evertoken._policy import Policy
from evertoken._problems import (
    CredentialsRefused,
    EndpointLocked,
    LifetimeTooShort,
    LocalProtocolError,
    Problem,
    ProblemKind,
    RateLimited,
    TokenUnavailable,
)
from evertoken._snapshot import Snapshot
from evertoken._states import AccessToken, BlockKind, Freshness, RequestState, State, TokenState
from evertoken.outcomes import Abandoned, Blocked, Failed, Granted, Ignored, Malformed, Outcome, Postponed, Stale

__all__ = (
    "Abandoned",
    "AccessToken",
    "AuthenticationParts",
    "BasicAuthentication",
    "BlockKind",
    "Blocked",
    "Challenge",
    "ClientAssertion",
    "ClientAuthentication",
    "ClientCredentials",
    "CredentialsRefused",
    "EndpointLocked",
    "Explanation",
    "Failed",
    "Freshness",
    "GiveUp",
    "Granted",
    "HttpResponse",
    "Ignored",
    "LifetimeTooShort",
    "LocalProtocolError",
    "Malformed",
    "Outcome",
    "Policy",
    "PostAuthentication",
    "Postponed",
    "Problem",
    "ProblemKind",
    "Profile",
    "RateLimited",
    "Ready",
    "Rejection",
    "RequestState",
    "SecretSource",
    "Seen",
    "SendReason",
    "SendRequest",
    "SignedAuthentication",
    "Signing",
    "Snapshot",
    "Stale",
    "State",
    "TokenEndpoint",
    "TokenMachine",
    "TokenRequest",
    "TokenState",
    "TokenUnavailable",
    "Wait",
    "WaitReason",
    "happenings",
    "mangopay",
    "next_move",
    "outcomes",
    "read_challenge",
)
