"""One incident for a story, a comment for each further alert, and never a word over an analyst's."""

import asyncio
import logging
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError
from azure.identity.aio import ManagedIdentityCredential

from detectors.delivery.destination import DeliveryError, Destination, DigestingDestination
from detectors.delivery.incident import build_comment, build_incident, comment_id, incident_id
from detectors.delivery.sentinel import SentinelDestination
from detectors.delivery.text import encode_json
from detectors.model import Alert, Severity
from sandbox import faults
from sandbox.faults import Fault
from sandbox.server import Sandbox
from sandbox.wire import Request, Response, error_response
from tests.factories import EVENT_TIME, build_alert, build_health

STORY = "a" * 32
ARM_SCOPE = "https://management.azure.com/.default"


def alert(number: int = 1, **changes: Any) -> Alert:
    """One alert of the story."""
    return build_alert(**{"id": f"{number:032x}", "story": STORY, "title": f"Alert {number}"} | changes)


@pytest.fixture
def sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    with Sandbox.start(tmp_path, clock=lambda: EVENT_TIME) as started:
        for name in ("IDENTITY_ENDPOINT", "IDENTITY_HEADER"):
            monkeypatch.setenv(name, started.environment()[name])
        yield started


Make = Callable[..., SentinelDestination]


@pytest.fixture
async def make(sandbox: Sandbox) -> AsyncIterator[Make]:
    """Makes destinations at the sandbox, each a process of its own; closes them in the end."""
    made: list[SentinelDestination] = []
    async with ManagedIdentityCredential() as credential:

        def build(workspace: str | None = None, **options: Any) -> SentinelDestination:
            destination = SentinelDestination(
                workspace or sandbox.sentinel_workspace,
                options.pop("credential", credential),
                clock=lambda: EVENT_TIME,
                **{"base_url": sandbox.url, "scope": ARM_SCOPE, "connection_verify": str(sandbox.ca_bundle)} | options,
            )
            made.append(destination)
            return destination

        yield build
        for destination in made:
            await destination.close()


@pytest.fixture
def destination(make: Make) -> SentinelDestination:
    return make()


async def send(destination: SentinelDestination, *alerts: Alert, possible_repeat: bool = False) -> list[str]:
    receipts = [await destination.send(each, possible_repeat=possible_repeat) for each in alerts]
    return [str(receipt.remote_id) for receipt in receipts]


async def refused(destination: SentinelDestination, *, possible_repeat: bool = False) -> DeliveryError:
    with pytest.raises(DeliveryError) as caught:
        await destination.send(alert(), possible_repeat=possible_repeat)
    return caught.value


def titles(sandbox: Sandbox) -> list[str]:
    return [incident["properties"]["title"] for incident in sandbox.sentinel.incidents]


def comments(sandbox: Sandbox, identifier: str) -> list[str]:
    return [comment["name"] for comment in sandbox.sentinel.comments(identifier)]


def asked(sandbox: Sandbox) -> list[tuple[str, int | None]]:
    return [(each.method, each.status) for each in sandbox.ledger.requests if each.endpoint == "sentinel"]


class Meddling:
    """Lets *meddle* act before the sandbox answers each request; what it returns is the answer instead."""

    def __init__(self, sandbox: Sandbox, meddle: Callable[[Request], Response | None]) -> None:
        self._answer = sandbox.sentinel.answer
        self._meddle = meddle
        sandbox.sentinel.answer = self.answer  # type: ignore[method-assign]  # stands between, for this test

    def answer(self, request: Request) -> Response:
        return self._meddle(request) or self._answer(request)


async def test_the_first_alert_of_a_story_creates_its_incident(
    sandbox: Sandbox, destination: SentinelDestination
) -> None:
    identifier = incident_id(alert())
    assert await send(destination, alert()) == [f"{identifier} (incident 3177)"]
    (incident,) = sandbox.sentinel.incidents
    expected = build_incident(alert())["properties"]
    assert {name: incident["properties"][name] for name in expected if name != "labels"} == {
        name: value for name, value in expected.items() if name != "labels"
    }
    assert incident["name"] == identifier
    assert incident["properties"]["owner"]["objectId"] is None
    assert comments(sandbox, identifier) == []
    (received,) = sandbox.ledger.at("sentinel")
    assert received.accepted
    assert received.path.endswith(f"/providers/Microsoft.SecurityInsights/incidents/{identifier}")


async def test_a_further_alert_of_the_story_is_a_comment(sandbox: Sandbox, destination: SentinelDestination) -> None:
    first, second = await send(destination, alert(1), alert(2))
    assert first == second
    (comment,) = sandbox.sentinel.comments(incident_id(alert()))
    assert comment["properties"]["message"] == build_comment(alert(2))["properties"]["message"]
    assert titles(sandbox) == ["Alert 1"]


async def test_another_story_has_an_incident_of_its_own(sandbox: Sandbox, destination: SentinelDestination) -> None:
    await send(destination, alert(1), alert(2, story="b" * 32), build_health(id="c" * 32), build_health(id="d" * 32))
    assert len(sandbox.sentinel.incidents) == 4


@pytest.mark.parametrize("possible_repeat", [False, True])
async def test_the_same_alert_twice_leaves_one_incident_and_one_comment(
    sandbox: Sandbox, make: Make, *, possible_repeat: bool
) -> None:
    before = await send(make(), alert(1), alert(2))
    after = await send(make(), alert(1), alert(2), possible_repeat=possible_repeat)
    assert after == before
    assert titles(sandbox) == ["Alert 1"]
    assert comments(sandbox, incident_id(alert())) == [comment_id(alert(2))]


@pytest.mark.parametrize("method", ["PUT incident", "PUT comment"])
async def test_an_answer_that_is_lost_after_the_write_leads_to_no_second_one(
    sandbox: Sandbox, make: Make, method: str
) -> None:
    lost: list[str] = []
    real = sandbox.sentinel.answer

    def lose(request: Request) -> Response | None:
        kind = f"{request.method} {'comment' if 'comments' in request.segments else 'incident'}"
        if kind == method and not lost:
            lost.append(kind)
            assert real(request).status == 201
            return error_response(504, "GatewayTimeout", "The gateway did not receive a response.")
        return None

    first = make()
    if method == "PUT comment":
        await send(first, alert(0))
    Meddling(sandbox, lose)
    error = await refused(first)
    assert (error.permanent, error.may_have_arrived) == (False, True)
    await send(make(), alert(), possible_repeat=True)
    assert len(sandbox.sentinel.incidents) == 1
    assert len(comments(sandbox, incident_id(alert()))) == (1 if method == "PUT comment" else 0)


async def test_what_an_analyst_set_is_never_overwritten(sandbox: Sandbox, destination: SentinelDestination) -> None:
    await send(destination, alert(1))
    identifier = incident_id(alert())
    edited = sandbox.sentinel.edit(
        identifier,
        owner={"assignedTo": "Ada", "objectId": "2046feea"},
        status="Active",
        severity="Low",
        title="Looking into it",
        labels=[],
        description="Ours.",
    )
    await send(destination, alert(2, severity=Severity.HIGH), alert(2))
    (incident,) = sandbox.sentinel.incidents
    mine = ("owner", "status", "severity", "title", "labels", "description")
    assert {name: incident["properties"][name] for name in mine} == {name: edited["properties"][name] for name in mine}
    assert comments(sandbox, identifier) == [comment_id(alert(2))]


async def test_new_activity_after_an_incident_was_closed_is_seen_in_a_further_one(
    sandbox: Sandbox, destination: SentinelDestination
) -> None:
    await send(destination, alert(1), alert(2))
    sandbox.sentinel.edit(incident_id(alert()), status="Closed", classification="TruePositive")
    assert await send(destination, alert(3), alert(4)) == [f"{incident_id(alert(), 2)} (incident 3178)"] * 2
    assert titles(sandbox) == ["Alert 1", "Alert 3"]
    further = sandbox.sentinel.incidents[1]["properties"]["description"]
    assert further.startswith("Goes on from incident 3177, which is closed.\n")
    assert sandbox.sentinel.incidents[0]["properties"]["status"] == "Closed"
    sandbox.sentinel.edit(incident_id(alert(), 2), status="Closed")
    await send(destination, alert(5))
    assert titles(sandbox) == ["Alert 1", "Alert 3", "Alert 5"]


@pytest.mark.parametrize("possible_repeat", [False, True])
async def test_an_alert_that_was_told_before_the_incident_was_closed_is_not_told_again(
    sandbox: Sandbox, make: Make, *, possible_repeat: bool
) -> None:
    await send(make(), alert(1), alert(2))
    sandbox.sentinel.edit(incident_id(alert()), status="Closed")
    await send(make(), alert(1), alert(2), possible_repeat=possible_repeat)
    assert titles(sandbox) == ["Alert 1"]
    assert len(comments(sandbox, incident_id(alert()))) == 1


async def test_a_possible_repeat_is_looked_for_in_every_incident_of_the_story(sandbox: Sandbox, make: Make) -> None:
    await send(make(), alert(1))
    sandbox.sentinel.edit(incident_id(alert()), status="Closed")
    await send(make(), alert(2), alert(3))
    sandbox.sentinel.edit(incident_id(alert()), status="Active")
    await send(make(), alert(2), alert(3), possible_repeat=True)
    assert comments(sandbox, incident_id(alert())) == []
    await send(make(), alert(4), possible_repeat=True)
    assert comments(sandbox, incident_id(alert())) == [comment_id(alert(4))]


async def test_an_incident_with_a_hundred_comments_is_followed_by_another(
    sandbox: Sandbox, destination: SentinelDestination
) -> None:
    await send(destination, alert(1))
    for number in range(99):
        sandbox.sentinel.comment(incident_id(alert()), f"note {number}")
    await send(destination, alert(2), alert(3), alert(2))
    assert len(comments(sandbox, incident_id(alert()))) == 100
    assert titles(sandbox) == ["Alert 1", "Alert 3"]
    assert sandbox.sentinel.incidents[1]["properties"]["description"].startswith(
        "Goes on from incident 3177, which has all the comments it can take."
    )


async def test_an_incident_that_fills_up_between_read_and_write_is_followed_by_another(
    sandbox: Sandbox, destination: SentinelDestination
) -> None:
    await send(destination, alert(1))

    def fill(request: Request) -> Response | None:
        while request.method == "PUT" and len(comments(sandbox, incident_id(alert()))) < 100:
            sandbox.sentinel.comment(incident_id(alert()), "somebody else's")
        return None

    Meddling(sandbox, fill)
    await send(destination, alert(2))
    assert titles(sandbox) == ["Alert 1", "Alert 2"]


async def test_an_incident_that_refuses_a_comment_for_whatever_reason_loses_no_alert(
    sandbox: Sandbox, destination: SentinelDestination
) -> None:
    await send(destination, alert(1))
    Meddling(
        sandbox,
        lambda request: (
            error_response(400, "BadRequest", "No.") if request.method == "PUT" and "comments" in request.path else None
        ),
    )
    await send(destination, alert(2))
    assert titles(sandbox) == ["Alert 1", "Alert 2"]


async def test_two_first_alerts_at_once_become_one_incident_and_one_comment(sandbox: Sandbox, make: Make) -> None:
    """Another process creates the incident after this one has read that there is none."""
    other = make()
    done: list[bool] = []

    def create_first(request: Request) -> Response | None:
        if request.method == "PUT" and not done:
            done.append(True)
            body = build_incident(alert(9))
            with_body = Request("PUT", request.path, request.query, request.headers, encode_json(body))
            assert real(with_body).status == 201
        return None

    real = sandbox.sentinel.answer
    Meddling(sandbox, create_first)
    await send(other, alert(1))
    assert titles(sandbox) == ["Alert 9"]
    assert comments(sandbox, incident_id(alert())) == [comment_id(alert(1))]
    assert asked(sandbox) == [("GET", 404), ("PUT", 409), ("GET", 200), ("PUT", 201)]


async def test_two_first_alerts_in_one_process_become_one_incident_and_one_comment(
    sandbox: Sandbox, destination: SentinelDestination
) -> None:
    await asyncio.gather(*(destination.send(alert(number), possible_repeat=False) for number in range(4)))
    assert len(sandbox.sentinel.incidents) == 1
    assert len(comments(sandbox, incident_id(alert()))) == 3


@pytest.mark.parametrize("status", [409, 412])
async def test_a_service_that_takes_no_etag_for_a_new_incident_gets_none(
    sandbox: Sandbox, destination: SentinelDestination, status: int
) -> None:
    Meddling(
        sandbox,
        lambda request: error_response(status, "Conflict", "No such etag.") if b'"etag"' in request.body else None,
    )
    await send(destination, alert())
    assert titles(sandbox) == ["Alert 1"]
    assert asked(sandbox) == [("GET", 404), ("PUT", status), ("GET", 404), ("PUT", 201)]


async def test_a_service_that_ignores_etags_is_told_of_in_the_log(
    sandbox: Sandbox, destination: SentinelDestination, caplog: pytest.LogCaptureFixture
) -> None:
    done: list[bool] = []
    real = sandbox.sentinel.answer

    def ignore(request: Request) -> Response | None:
        if request.method != "PUT":
            return None
        plain = Request("PUT", request.path, request.query, request.headers, request.body.replace(b'"etag"', b'"x"'))
        if not done:
            done.append(True)
            real(plain)
        return real(plain)

    Meddling(sandbox, ignore)
    with caplog.at_level(logging.WARNING):
        await send(destination, alert())
    assert "was created by somebody else at the same moment and has been replaced" in caplog.text


@pytest.mark.parametrize("status", [409, 412])
async def test_a_conflict_is_read_again_three_times_and_then_waits(
    sandbox: Sandbox, destination: SentinelDestination, status: int
) -> None:
    Meddling(sandbox, lambda request: error_response(status, "Conflict", "Newer.") if request.method == "PUT" else None)
    error = await refused(destination)
    assert not error.permanent
    assert f"answered {status}" in str(error)
    assert asked(sandbox) == [("GET", 404), ("PUT", status)] * 3


async def test_an_incident_that_is_deleted_between_read_and_comment_is_created_anew(
    sandbox: Sandbox, destination: SentinelDestination
) -> None:
    await send(destination, alert(1))

    def delete(request: Request) -> Response | None:
        if "comments" in request.path and sandbox.sentinel.incidents:
            sandbox.sentinel.delete(incident_id(alert()))
        return None

    Meddling(sandbox, delete)
    await send(destination, alert(2))
    assert titles(sandbox) == ["Alert 2"]


@pytest.mark.parametrize("shape", ["sentinel", "arm"])
async def test_a_missing_incident_is_created_whatever_the_words_of_the_404(
    sandbox: Sandbox, destination: SentinelDestination, shape: Any
) -> None:
    sandbox.sentinel.not_found_shape = shape
    await send(destination, alert(1), alert(2), possible_repeat=True)
    assert titles(sandbox) == ["Alert 1"]
    assert len(comments(sandbox, incident_id(alert()))) == 1


@pytest.mark.parametrize("code", [None, "ResourceGroupNotFound", "SubscriptionNotFound", "NotFound"])
async def test_a_missing_workspace_names_the_setting(sandbox: Sandbox, make: Make, code: str | None) -> None:
    if code:
        Meddling(sandbox, lambda request: error_response(404, code, "It could not be found."))
    error = await refused(make(sandbox.sentinel_workspace.replace("law-security", "law-other")))
    assert not error.permanent
    assert "answered 404 (Not Found). Check SENTINEL_WORKSPACE_RESOURCE_ID" in str(error)


async def test_a_missing_role_is_named(sandbox: Sandbox, destination: SentinelDestination) -> None:
    sandbox.faults.set("sentinel", faults.Status(403))
    error = await refused(destination)
    assert (error.permanent, error.may_have_arrived) == (False, False)
    assert f"sentinel: {sandbox.url} answered 403 (Forbidden). Give the identity the role Microsoft Sentinel" in str(
        error
    )
    assert "Responder" in str(error)


READ_FAULTS: list[tuple[Fault, str]] = [
    (faults.Status(429, retry_after=60), "answered 429"),
    (faults.Status(500), "answered 500"),
    (faults.Html(502), "answered 502"),
    (faults.Html(200), "something that is not the JSON of Microsoft Sentinel"),
    (faults.EmptyOk(), "something that is not the JSON of Microsoft Sentinel"),
    (faults.NoContent(), "answered 204"),
    (faults.Reset(), "no answer from"),
]


@pytest.mark.parametrize(("fault", "said"), READ_FAULTS, ids=[f"{fault}" for fault, _ in READ_FAULTS])
async def test_a_failure_while_reading_is_tried_again_later_and_wrote_nothing(
    sandbox: Sandbox, destination: SentinelDestination, fault: Fault, said: str
) -> None:
    sandbox.faults.set("sentinel", fault)
    error = await refused(destination)
    assert (error.permanent, error.may_have_arrived) == (False, False)
    assert error.retry_after == (60.0 if "429" in said else None)
    assert said in str(error)
    # aiohttp itself repeats a GET or a PUT once when the connection ends without an answer, which changes nothing.
    most = 2 if isinstance(fault, faults.Reset) else 1
    assert len(asked(sandbox)) <= most, "the outbox retries, the destination does not"
    sandbox.faults.clear()
    await send(destination, alert())
    assert titles(sandbox) == ["Alert 1"]


@pytest.mark.parametrize(
    ("answer", "arrived"),
    [
        (error_response(500, "InternalServerError", "No."), True),
        (Response(502, b"<html>Bad Gateway</html>", "text/html"), True),
        (Response(200, b"<html>Sign in</html>", "text/html"), True),
        (error_response(429, "TooManyRequests", "Slower."), False),
    ],
    ids=["500", "502", "200 html", "429"],
)
async def test_a_failure_while_writing_may_have_arrived(
    sandbox: Sandbox, destination: SentinelDestination, answer: Response, *, arrived: bool
) -> None:
    Meddling(sandbox, lambda request: answer if request.method == "PUT" else None)
    error = await refused(destination)
    assert (error.permanent, error.may_have_arrived) == (False, arrived)


async def test_a_refused_incident_is_refused_for_good(sandbox: Sandbox, destination: SentinelDestination) -> None:
    Meddling(sandbox, lambda request: error_response(400, "BadRequest", "No.") if request.method == "PUT" else None)
    assert (await refused(destination)).permanent


async def test_a_redirect_never_takes_the_token_elsewhere(sandbox: Sandbox, destination: SentinelDestination) -> None:
    Meddling(sandbox, lambda request: Response(307, headers={"Location": f"{sandbox.url}/elsewhere"}))
    error = await refused(destination)
    assert error.permanent
    assert "redirect refused" in str(error)
    assert sandbox.ledger.counts["sentinel"] == 1


async def test_a_token_for_another_audience_is_refused_and_waits(sandbox: Sandbox, make: Make) -> None:
    error = await refused(make(scope="https://monitor.azure.com/.default"))
    assert not error.permanent
    assert "answered 401" in str(error)


class NoToken:
    """A credential without a token."""

    async def get_token(self, *_: str, **__: Any) -> AccessToken:
        raise ClientAuthenticationError("no identity\x1b")

    async def close(self) -> None:
        """Nothing is open."""

    async def __aexit__(self, *_: object) -> None:
        """Nothing is open."""


async def test_a_credential_without_a_token_is_tried_again(sandbox: Sandbox, make: Make) -> None:
    error = await refused(make(credential=NoToken()))
    assert (error.permanent, error.may_have_arrived) == (False, False)
    assert r"no token for " in str(error)
    assert r"no identity\x1b" in str(error)


async def test_a_silent_service_times_out(sandbox: Sandbox, make: Make) -> None:
    sandbox.faults.set("sentinel", faults.Slow())
    destination = make(read_timeout=0.05)
    error = await refused(destination)
    assert "time-out" in str(error)
    await destination.close()
    sandbox.faults.clear()


async def test_hostile_text_arrives_as_text(sandbox: Sandbox, destination: SentinelDestination) -> None:
    hostile = "<script>alert(1)</script>[x](https://evil.example)\u202e\ud800"
    await send(destination, alert(1, title=hostile, caller=hostile), alert(2, title=hostile, caller=hostile))
    (incident,) = sandbox.sentinel.incidents
    assert incident["properties"]["title"] == (r"<script>alert(1)</script>[x](https://evil.example)\u202e\ud800")
    (comment,) = sandbox.sentinel.comments(incident["name"])
    assert "<script" not in comment["properties"]["message"]
    assert "](" not in comment["properties"]["message"]


async def test_a_bounded_number_of_closed_incidents_of_one_story_is_enough(
    sandbox: Sandbox, destination: SentinelDestination, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Fifty in life; each further one is asked for after all before it, so fifty here would be 1,275 requests.
    monkeypatch.setattr("detectors.delivery.sentinel._MAX_INCIDENTS", 6)
    for number in range(6):
        await send(destination, alert(number))
        sandbox.sentinel.edit(incident_id(alert(), number + 1), status="Closed")
    with pytest.raises(DeliveryError, match="all 6 incidents of this story are closed or full") as caught:
        await destination.send(alert(7), possible_repeat=False)
    assert caught.value.permanent


def test_an_endpoint_without_https_is_refused_when_the_destination_is_made(make: Make) -> None:
    with pytest.raises(ValueError, match="the endpoint of sentinel must begin with https://"):
        make(base_url="http://contoso.example")


async def test_it_is_a_destination_that_takes_every_alert_alone(destination: SentinelDestination) -> None:
    assert isinstance(destination.name, str)
    one: Destination = destination
    assert one.name == "sentinel"
    assert not isinstance(destination, DigestingDestination)
    await destination.close()
    await destination.close()


def test_importing_it_loads_neither_azure_nor_aiohttp() -> None:
    script = (
        "import sys, detectors.delivery.sentinel\n"
        "print([name for name in sys.modules if name.split('.')[0] in ('azure', 'aiohttp')])"
    )
    finished = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert finished.stdout.strip() == "[]"
