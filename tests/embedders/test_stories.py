"""No adapter needs more token requests than a plain source, and no call is lost that could be served."""

from __future__ import annotations

import pytest

from tests.embedders.ours import OURS, PLAIN
from tests.embedders.stock import STOCK
from tests.embedders.stories import HERDS, STORIES, Story, told
from tests.embedders.table import HERDED, UNSEEN

TITLES = [story.title for story in STORIES]


@pytest.mark.parametrize("story", STORIES, ids=TITLES)
def test_a_plain_source_loses_no_call(story: Story) -> None:
    assert told(story, PLAIN).lost == 0


@pytest.mark.parametrize("story", STORIES, ids=TITLES)
@pytest.mark.parametrize("name", OURS)
def test_an_adapter_loses_no_call_and_asks_for_no_more_tokens_than_a_plain_source(name: str, story: Story) -> None:
    score = told(story, OURS[name])
    assert score.requests <= told(story, PLAIN).requests
    assert score.lost == 0 or (name, story.title) in UNSEEN


@pytest.mark.parametrize("story", HERDS, ids=[story.title for story in HERDS])
def test_twenty_threads_of_mangopays_sdk_make_one_request_for_each_life_of_a_token(story: Story) -> None:
    """25 minutes of tokens that live for 20: the end of the first falls into them, and a revocation is one."""
    lives = 1 + max(1, len(story.revoked_before))
    assert told(story, OURS[HERDED]) == (lives, 0)
    assert told(story, STOCK[HERDED]).requests > 10 * lives


@pytest.mark.parametrize("name", STOCK)
def test_what_is_compared_with_works_in_fair_weather(name: str) -> None:
    assert told(STORIES[0], STOCK[name]).lost == 0
