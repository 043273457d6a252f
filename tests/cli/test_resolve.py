"""``resolve`` closes a story where that is possible and says where a person has to."""

from collections.abc import AsyncIterator

import pytest

from detectors.app import Detector
from detectors.commands.failure import CommandError
from detectors.commands.printing import resolution_text
from detectors.commands.resolve import ResolvingDestination, resolve
from detectors.delivery.destination import DeliveryError, Receipt
from detectors.delivery.http import Poster
from detectors.delivery.pagerduty import PagerDutyDestination
from detectors.settings import load_settings
from tests.cli.conftest import Shell
from tests.core.test_outbox import Recorder
from tests.factories import build_alert
from tests.heartbeat.samples import record, sent

STORY = "d0" * 16


class Pager(Recorder):
    def __init__(self, failure: DeliveryError | None = None) -> None:
        super().__init__("pagerduty")
        self.failure = failure
        self.resolved: list[str] = []

    async def resolve(self, key: str) -> Receipt:
        if self.failure:
            raise self.failure
        self.resolved.append(key)
        return Receipt(remote_id=key)


@pytest.fixture
async def detector(shell: Shell) -> AsyncIterator[Detector]:
    opened = Detector(load_settings(shell.environment), environment=shell.environment, clock=shell.clock)
    await opened.open()
    yield opened
    await opened.close()


async def store(detector: Detector, number: int, story: str) -> str:
    identifier = record(number).id
    stored = record(number, teams=sent())
    alert = build_alert(id=identifier, title="Watcher created", story=story)
    assert await detector.store.create(type(stored)(id=identifier, due=None, created_at=stored.created_at, alert=alert))
    return identifier


async def test_the_story_of_an_alert_is_resolved_and_the_others_are_named(detector: Detector) -> None:
    identifier = await store(detector, 1, STORY)
    pager = Pager()
    detector.destinations = (Recorder("teams"), pager)
    result = await resolve(detector, identifier)
    assert pager.resolved == [STORY]
    assert (result.resolved, result.cannot, result.failed) == (("pagerduty",), ("teams",), ())
    text = resolution_text(result)
    assert "pagerduty  resolved" in text
    assert "teams      cannot be told" in text
    assert "Watcher created" in text


async def test_a_storys_key_is_resolved_as_it_is(detector: Detector) -> None:
    pager = Pager()
    detector.destinations = (pager,)
    await resolve(detector, f" {STORY.upper()} ")
    assert pager.resolved == [STORY]


async def test_an_alert_without_a_story_is_resolved_by_its_own_id(detector: Detector) -> None:
    identifier = await store(detector, 1, "")
    pager = Pager()
    detector.destinations = (pager,)
    await resolve(detector, identifier)
    assert pager.resolved == [identifier]


async def test_a_failure_at_one_destination_is_told_and_stops_no_other(detector: Detector) -> None:
    failing, working = Pager(DeliveryError("pagerduty: answered 429")), Pager()
    working.name = "pagerduty-2"
    detector.destinations = (failing, working)
    result = await resolve(detector, STORY)
    assert result.failed == (("pagerduty", "pagerduty: answered 429"),)
    assert result.resolved == ("pagerduty-2",)
    assert "failed: pagerduty: answered 429" in resolution_text(result)


async def test_what_is_neither_an_alert_nor_a_story_is_refused(detector: Detector) -> None:
    with pytest.raises(CommandError, match="no alert has the id"):
        await resolve(detector, "abcdef")


async def test_a_match_before_triage_has_nothing_to_resolve(detector: Detector) -> None:
    await detector.store.create(record(1))
    with pytest.raises(CommandError, match="not triaged yet"):
        await resolve(detector, record(1).id)


async def test_pagerduty_is_a_destination_that_can_be_told(shell: Shell) -> None:
    poster = Poster(clock=shell.clock)
    assert isinstance(PagerDutyDestination("0" * 32, poster=poster), ResolvingDestination)
    await poster.close()


def test_without_such_a_destination_the_command_says_so_and_exits_with_1(shell: Shell) -> None:
    result = shell.run("resolve", STORY)
    assert result.code == 1
    assert "no destination that keeps incidents is set up" in result.out
