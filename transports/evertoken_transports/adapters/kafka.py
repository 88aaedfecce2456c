"""Kafka's SASL/OAUTHBEARER by confluent-kafka, with the tokens of a source. Needs confluent-kafka, and h11."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

if find_spec("confluent_kafka") is None:
    raise ImportError(
        "evertoken_transports.adapters.kafka needs confluent-kafka: pip install confluent-kafka", name="confluent_kafka"
    )

from evertoken_transports.threads import TokenSource

__all__ = ("oauth_cb",)


def oauth_cb(source: TokenSource, timeout: float | None = None) -> Callable[[str], tuple[str, float]]:
    """What ``Producer`` and ``Consumer`` call for a token, at first and after four fifths of the life of each.

    ::

        Producer({"security.protocol": "SASL_SSL", "sasl.mechanisms": "OAUTHBEARER", "oauth_cb": oauth_cb(source), ...})

    Any number of producers and consumers with one source make one token request.

    Args:
        source: where the tokens come from.
        timeout: seconds that the thread which polls may wait, as of ``source.token``. Its errors are logged by
            librdkafka, which asks again in ten seconds.
    """

    def asked(_config: str) -> tuple[str, float]:
        token = source.token(timeout)
        return token.value, token.expires_at

    return asked
