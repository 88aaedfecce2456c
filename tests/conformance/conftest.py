"""What these tests keep from the canary: what httpcore says, at DEBUG, of the answers to the caller's own API calls."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

# Where most of the assertions stand, so that a failure says what was found.
pytest.register_assert_rewrite("tests.conformance.scenarios", "tests.conformance.stage")


def _tells_no_challenge(record: logging.LogRecord) -> bool:
    return "PendingUserAction" not in record.getMessage()


@pytest.fixture(autouse=True)
def not_the_challenges_of_the_api() -> Iterator[None]:
    """A challenge for strong authentication holds a secret, and it is the caller's client that logs its headers."""
    loggers = [logging.getLogger(f"{library}.http11") for library in ("httpcore", "httpcore2")]
    for logger in loggers:
        logger.addFilter(_tells_no_challenge)
    yield
    for logger in loggers:
        logger.removeFilter(_tells_no_challenge)
