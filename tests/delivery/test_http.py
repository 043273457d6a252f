"""The one way out: bounded, suspicious, and clear about what went wrong."""

import logging
from datetime import timedelta
from email.utils import format_datetime

import pytest

from detectors.delivery.destination import DeliveryError
from detectors.delivery.http import MAX_RETRY_AFTER, RESPONSE_LIMIT, Poster, checked_url, origin, retry_after
from tests.delivery.receiver import Answer, Receiver, posting_to, running
from tests.factories import EVENT_TIME

SECRET = "/workflows/0a1b2c3d4e5f/triggers?sig=Zm9yLXlvdXItZXllcy1vbmx5&sv=1.0"


async def refused(poster: Poster, url: str) -> DeliveryError:
    with pytest.raises(DeliveryError) as caught:
        await poster.post("teams", url, b"{}", {})
    return caught.value


@pytest.mark.parametrize("status", [200, 202, 204])
async def test_every_2xx_is_a_success(receiver: Receiver, poster: Poster, status: int) -> None:
    receiver.answers.append(Answer(status, {"X-Run": "7"}))
    response = await poster.post("teams", receiver.url + SECRET, b'{"a":1}', {"Content-Type": "application/json"})
    assert (response.status, response.headers["x-run"]) == (status, "7")
    (request,) = receiver.received
    assert (request.path, request.body) == (SECRET, b'{"a":1}')
    assert request.headers["content-type"] == "application/json"
    assert "authorization" not in request.headers


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_redirect_is_refused_and_never_followed(receiver: Receiver, poster: Poster, status: int) -> None:
    receiver.answers.append(Answer(status, {"Location": f"{receiver.url}/elsewhere"}))
    error = await refused(poster, receiver.url + "/here")
    assert "redirect refused" in str(error)
    assert error.permanent
    assert [request.path for request in receiver.received] == ["/here"]


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
async def test_an_overloaded_or_broken_receiver_is_tried_again(receiver: Receiver, poster: Poster, status: int) -> None:
    receiver.answers.append(Answer(status, {"Retry-After": "17"}))
    error = await refused(poster, receiver.url)
    assert (error.permanent, error.retry_after) == (False, 17.0)
    assert error.may_have_arrived == (status >= 500)
    assert len(receiver.received) == 1, "the outbox retries, the poster does not"


@pytest.mark.parametrize("status", [401, 403, 404, 409])
async def test_what_an_operator_can_fix_is_tried_again(receiver: Receiver, poster: Poster, status: int) -> None:
    receiver.answers.append(Answer(status))
    error = await refused(poster, receiver.url)
    assert not error.permanent
    assert not error.may_have_arrived
    assert "Check the destination's URL, key or permission" in str(error)


@pytest.mark.parametrize("status", [400, 410, 413, 422])
async def test_what_cannot_succeed_is_not_tried_again(receiver: Receiver, poster: Poster, status: int) -> None:
    receiver.answers.append(Answer(status, {"Retry-After": "17"}))
    error = await refused(poster, receiver.url)
    assert (error.permanent, error.retry_after) == (True, None)


async def test_a_gone_endpoint_says_what_to_do(receiver: Receiver, poster: Poster) -> None:
    receiver.answers.append(Answer(410))
    error = await refused(poster, receiver.url)
    assert f"teams: {receiver.url} answered 410 (Gone)" in str(error)
    assert "remove the destination" in str(error)


async def test_an_error_shows_a_bounded_and_visible_part_of_the_answer(receiver: Receiver, poster: Poster) -> None:
    page = "<html>\x1b[2J\u202e<h1>Bad Gateway</h1>" + "x" * 100_000
    receiver.answers.append(Answer(502, {"Content-Type": "text/html"}, page.encode()))
    message = str(await refused(poster, receiver.url))
    assert r"<html>\x1b[2J\u202e<h1>Bad Gateway</h1>xxx" in message
    assert message.isprintable()
    assert len(message) < 600


async def test_an_undecodable_answer_is_no_obstacle(receiver: Receiver, poster: Poster) -> None:
    receiver.answers.append(Answer(400, {"Content-Type": "application/json; charset=nonsense"}, b"\xff\xfe\x00oops"))
    assert "oops" in str(await refused(poster, receiver.url))


async def test_a_huge_answer_is_read_only_in_part(receiver: Receiver) -> None:
    # More than the buffers between the two can hold.
    receiver.answers.append(Answer(200, body=b"y" * 32_000_000))
    async with posting_to(receiver) as poster:
        assert (await poster.post("teams", receiver.url, b"{}", {})).text == "y" * RESPONSE_LIMIT
    assert receiver.given_up == 1


async def test_no_error_and_no_log_shows_the_path_or_query_of_a_url(
    receiver: Receiver, poster: Poster, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    receiver.answers.append(Answer(404, body=f"Cannot POST {SECRET}, key Zm9yLXlvdXItZXllcy1vbmx5".encode()))
    receiver.answers.append(Answer(200))
    shown = str(await refused(poster, receiver.url + SECRET))
    await poster.post("teams", receiver.url + SECRET, b"a body nobody logs", {})
    shown += str(await refused(poster, "https://localhost:1" + SECRET)) + caplog.text
    for secret in ("0a1b2c3d4e5f", "workflows", "Zm9yLXlvdXItZXllcy1vbmx5", "a body nobody logs"):
        assert secret not in shown
    assert f"teams: {receiver.url} answered 200" in caplog.text


async def test_a_refused_connection_is_tried_again(poster: Poster) -> None:
    with running() as stopped:
        url = stopped.url
    error = await refused(poster, url + SECRET)
    assert (error.permanent, error.may_have_arrived) == (False, False)
    assert f"teams: no answer from {url}: " in str(error)


async def test_an_untrusted_certificate_is_refused(receiver: Receiver) -> None:
    async with posting_to(receiver, connection_verify=True) as poster:
        error = await refused(poster, receiver.url + SECRET)
    assert (error.permanent, error.may_have_arrived) == (False, False)
    assert "its certificate was refused" in str(error)
    assert receiver.received == []


async def test_a_silent_receiver_times_out_and_may_have_the_alert(receiver: Receiver) -> None:
    receiver.answers.append(Answer(hold=True))
    async with posting_to(receiver, read_timeout=0.05) as poster:
        error = await refused(poster, receiver.url + SECRET)
    assert (error.permanent, error.may_have_arrived) == (False, True)
    assert "time-out" in str(error)


async def test_a_receiver_that_answers_nonsense_may_have_the_alert(receiver: Receiver, poster: Poster) -> None:
    receiver.answers.append(Answer(202, {"Content-Length": "minus one"}))
    error = await refused(poster, receiver.url + SECRET)
    assert (error.permanent, error.may_have_arrived) == (False, True)
    assert "workflows" not in str(error)


async def test_a_status_counts_even_when_its_body_never_comes(receiver: Receiver, poster: Poster) -> None:
    receiver.answers.append(Answer(202, {"Content-Length": "5", "Connection": "close"}))
    response = await poster.post("teams", receiver.url, b"{}", {})
    assert (response.status, response.text) == (202, "")


async def test_a_poster_can_be_closed_twice_and_used_again(receiver: Receiver, poster: Poster) -> None:
    await poster.post("teams", receiver.url, b"{}", {})
    await poster.close()
    await poster.close()
    assert (await poster.post("teams", receiver.url, b"{}", {})).status == 202


def test_retry_after_is_read_as_seconds_or_date_and_bounded() -> None:
    later = EVENT_TIME + timedelta(seconds=90)
    assert retry_after("12", EVENT_TIME) == 12.0
    assert retry_after(" 1.5 ", EVENT_TIME) == 1.5
    assert retry_after(format_datetime(later, usegmt=True), EVENT_TIME) == 90.0
    assert retry_after(format_datetime(later.replace(tzinfo=None)), EVENT_TIME) == 90.0
    assert retry_after(format_datetime(EVENT_TIME - timedelta(days=1), usegmt=True), EVENT_TIME) == 0.0
    assert retry_after("999999999", EVENT_TIME) == MAX_RETRY_AFTER
    for unusable in (None, "", "soon", "-5", "1e9", "٣", "9" * 5000):
        assert retry_after(unusable, EVENT_TIME) is None


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("", "is not a URL"),
        ("example.com/hook-secret", "is not a URL"),
        ("https:///hook-secret", "is not a URL"),
        ("https://example.com:99999/hook-secret", "is not a URL"),
        ("https://example.com/hook-secret\n", "is not a URL"),
        ("http://example.com/hook-secret", "must begin with https://"),
        ("http://localhost.example.com/hook-secret", "must begin with https://"),
        ("file://localhost/hook-secret", "must begin with https://"),
        ("https://user:pass@example.com/hook-secret", "user name or password"),
    ],
)
def test_an_unusable_url_is_refused_without_being_shown(url: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint) as caught:
        checked_url(url, "TEAMS_URL")
    assert str(caught.value).startswith("TEAMS_URL ")
    assert "hook-secret" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["https://example.com/a?b=c", "http://localhost:7071/x", "http://[::1]:80/", "http://127.0.0.1"]
)
def test_https_anywhere_and_http_to_this_machine_are_accepted(url: str) -> None:
    assert checked_url(url, "TEAMS_URL") == url


def test_an_origin_is_scheme_host_and_port() -> None:
    assert origin("https://user:pass@Example.com:8443/path?query#part") == "https://example.com:8443"
    assert origin("http://[::1]:80/") == "http://[::1]:80"
