import json
from typing import Any

import pytest

from sandbox.endpoints.sentinel import MAX_COMMENT, MAX_COMMENTS, MAX_DESCRIPTION
from sandbox.faults import Reset, Status
from sandbox.server import Sandbox
from tests.sandbox.support import ARM, NOW, Answer, Clock, send, token_for

INCIDENT = "73e01a99-5cd7-4139-a149-9f2736ff2ab5"
COMMENT = "4bb36b7b-26ff-4d1c-9cbe-0d8ab3da0014"
PROPERTIES = {
    "title": "My incident",
    "description": "This is a demo incident",
    "severity": "High",
    "status": "New",
    "firstActivityTimeUtc": "2019-01-01T13:00:30Z",
    "lastActivityTimeUtc": "2019-01-01T13:05:30Z",
    "labels": [{"labelName": "AZT504"}],
    "owner": {"objectId": "2046feea-040d-4a46-9e2b-91c2941bfa70"},
}


def ask(
    sandbox: Sandbox,
    method: str,
    path: str,
    body: Any = None,
    *,
    version: str = "2025-09-01",
    workspace: str | None = None,
    audience: str = ARM,
) -> Answer:
    return send(
        sandbox,
        method,
        f"{workspace or sandbox.sentinel_workspace}/providers/Microsoft.SecurityInsights/{path}?api-version={version}",
        body=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {token_for(sandbox, audience)}", "Content-Type": "application/json"},
    )


def put(sandbox: Sandbox, etag: str | None = None, **changes: Any) -> Answer:
    body: dict[str, Any] = {"properties": PROPERTIES | changes}
    return ask(sandbox, "PUT", f"incidents/{INCIDENT}", body | ({"etag": etag} if etag else {}))


def comment(sandbox: Sandbox, message: Any = "Some message", name: str = COMMENT) -> Answer:
    return ask(sandbox, "PUT", f"incidents/{INCIDENT}/comments/{name}", {"properties": {"message": message}})


def test_an_incident_is_created_in_the_shape_of_the_published_example(sandbox: Sandbox) -> None:
    answer = put(sandbox)
    assert answer.status == 201
    body = answer.json()
    identifier = f"{sandbox.sentinel_workspace}/providers/Microsoft.SecurityInsights/incidents/{INCIDENT}"
    assert (body["id"], body["name"], body["type"]) == (identifier, INCIDENT, "Microsoft.SecurityInsights/incidents")
    properties = body["properties"]
    assert properties["title"] == "My incident"
    assert properties["labels"] == [{"labelName": "AZT504", "labelType": "User"}]
    assert properties["owner"]["objectId"] == "2046feea-040d-4a46-9e2b-91c2941bfa70"
    assert (properties["incidentNumber"], properties["providerIncidentId"]) == (3177, "3177")
    assert properties["createdTimeUtc"] == f"{NOW:%Y-%m-%dT%H:%M:%SZ}"
    assert properties["additionalData"]["commentsCount"] == 0
    read = ask(sandbox, "GET", f"incidents/{INCIDENT.upper()}")
    assert (read.status, read.json()) == (200, body)


def test_a_put_replaces_all_that_can_be_written_and_nothing_else(sandbox: Sandbox, clock: Clock) -> None:
    before = put(sandbox).json()
    clock.advance(minutes=5)
    body = {"properties": {"title": "Other", "severity": "Low", "status": "New", "incidentNumber": 1}}
    answer = ask(sandbox, "PUT", f"incidents/{INCIDENT}", body)
    assert answer.status == 200
    after = answer.json()
    assert after["properties"]["owner"]["objectId"] is None
    assert after["properties"]["labels"] == []
    assert "description" not in after["properties"]
    assert after["properties"]["incidentNumber"] == 3177
    assert after["properties"]["createdTimeUtc"] == before["properties"]["createdTimeUtc"]
    assert after["properties"]["lastModifiedTimeUtc"] > before["properties"]["lastModifiedTimeUtc"]
    assert after["etag"] != before["etag"]


def test_an_etag_creates_updates_its_own_version_and_conflicts_with_any_other(sandbox: Sandbox) -> None:
    first = put(sandbox, etag='"anything"')
    assert first.status == 201
    second = put(sandbox, etag=first.json()["etag"])
    assert second.status == 200
    answer = put(sandbox, etag=first.json()["etag"], title="Lost")
    assert (answer.status, answer.json()["error"]["code"]) == (409, "Conflict")
    assert sandbox.sentinel.incidents[0]["properties"]["title"] == "My incident"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"title": ""}, "'title' is required"),
        ({"severity": "Critical"}, "'severity' is required, one of High"),
        ({"status": None}, "'status' is required"),
        ({"description": "x" * (MAX_DESCRIPTION + 1)}, "at most 5000 characters"),
        ({"labels": ["AZT504"]}, "'labelName'"),
    ],
)
def test_a_wrong_incident_is_refused_with_the_reason(sandbox: Sandbox, changes: dict[str, Any], said: str) -> None:
    answer = put(sandbox, **changes)
    assert answer.status == 400
    assert said in answer.json()["error"]["message"]
    assert sandbox.sentinel.incidents == ()


@pytest.mark.parametrize("body", [[], {"title": "x"}, {"properties": None}])
def test_a_body_without_properties_is_refused(sandbox: Sandbox, body: Any) -> None:
    assert ask(sandbox, "PUT", f"incidents/{INCIDENT}", body).status == 400
    put(sandbox)
    assert ask(sandbox, "PUT", f"incidents/{INCIDENT}/comments/{COMMENT}", body).status == 400


def test_a_comment_is_created_replaced_listed_and_counted(sandbox: Sandbox) -> None:
    etag = put(sandbox).json()["etag"]
    assert [comment(sandbox).status, comment(sandbox, "Again").status] == [201, 200]
    answer = ask(sandbox, "GET", f"incidents/{INCIDENT}/comments/{COMMENT}")
    assert answer.json()["properties"]["message"] == "Again"
    assert answer.json()["type"] == "Microsoft.SecurityInsights/incidents/comments"
    assert ask(sandbox, "GET", f"incidents/{INCIDENT}/comments").json() == {"value": [answer.json()]}
    incident = ask(sandbox, "GET", f"incidents/{INCIDENT}").json()
    assert incident["properties"]["additionalData"]["commentsCount"] == 1
    assert incident["etag"] != etag


@pytest.mark.parametrize("message", [None, "", 7, "x" * (MAX_COMMENT + 1)])
def test_a_wrong_comment_is_refused(sandbox: Sandbox, message: Any) -> None:
    put(sandbox)
    assert comment(sandbox, message).status == 400
    assert sandbox.sentinel.comments(INCIDENT) == ()


def test_an_incident_takes_a_hundred_comments(sandbox: Sandbox) -> None:
    put(sandbox)
    for number in range(MAX_COMMENTS):
        sandbox.sentinel.comment(INCIDENT, f"note {number}")
    answer = comment(sandbox)
    assert answer.status == 400
    assert "at most 100 comments" in answer.json()["error"]["message"]


def test_what_is_not_there_is_a_404_in_either_shape(sandbox: Sandbox) -> None:
    assert ask(sandbox, "GET", f"incidents/{INCIDENT}").json()["error"]["code"] == "NotFound"
    assert comment(sandbox).status == 404
    sandbox.sentinel.not_found_shape = "arm"
    assert ask(sandbox, "GET", f"incidents/{INCIDENT}").json()["error"]["code"] == "ResourceNotFound"
    put(sandbox)
    assert ask(sandbox, "GET", f"incidents/{INCIDENT}/comments/{COMMENT}").status == 404
    other = sandbox.sentinel_workspace.replace("law-security", "law-other")
    answer = ask(sandbox, "PUT", f"incidents/{INCIDENT}", {"properties": PROPERTIES}, workspace=other)
    assert (answer.status, answer.json()["error"]["code"]) == (404, "ResourceNotFound")
    assert "workspaces/law-other" in answer.json()["error"]["message"]
    assert ask(sandbox, "GET", "bookmarks").status == 404


def test_other_versions_methods_and_audiences_are_refused(sandbox: Sandbox) -> None:
    assert ask(sandbox, "GET", f"incidents/{INCIDENT}", version="2021-10-01").status == 400
    assert ask(sandbox, "DELETE", f"incidents/{INCIDENT}").status == 405
    put(sandbox)
    assert ask(sandbox, "DELETE", f"incidents/{INCIDENT}/comments/{COMMENT}").status == 405
    answer = ask(sandbox, "GET", f"incidents/{INCIDENT}", audience="https://monitor.azure.com")
    assert (answer.status, answer.json()["error"]["code"]) == (401, "InvalidAuthenticationTokenAudience")
    assert send(sandbox, "GET", f"{sandbox.sentinel_workspace}/providers/Microsoft.SecurityInsights").status == 401


def test_an_analyst_edits_and_deletes_incidents(sandbox: Sandbox) -> None:
    etag = put(sandbox).json()["etag"]
    edited = sandbox.sentinel.edit(INCIDENT, status="Closed", owner={"assignedTo": "Ada"})
    assert ask(sandbox, "GET", f"incidents/{INCIDENT}").json() == edited
    assert edited["properties"]["owner"] == {"assignedTo": "Ada"}
    assert edited["etag"] != etag
    with pytest.raises(ValueError, match="cannot set 'incidentNumber'"):
        sandbox.sentinel.edit(INCIDENT, incidentNumber=1)
    with pytest.raises(KeyError):
        sandbox.sentinel.edit(COMMENT, status="Closed")
    sandbox.sentinel.delete(INCIDENT)
    assert ask(sandbox, "GET", f"incidents/{INCIDENT}").status == 404
    assert put(sandbox).json()["properties"]["incidentNumber"] == 3178


def test_the_ledger_has_what_was_written_and_counts_what_was_asked(sandbox: Sandbox) -> None:
    put(sandbox)
    ask(sandbox, "GET", f"incidents/{INCIDENT}")
    comment(sandbox)
    entries = sandbox.ledger.at("sentinel")
    assert [(entry.status, entry.path.rsplit("/", 2)[1]) for entry in entries] == [
        (201, "incidents"),
        (201, "comments"),
    ]
    assert entries[1].body == {"properties": {"message": "Some message"}}
    assert sandbox.ledger.counts["sentinel"] == 3


def test_it_can_fail_like_every_endpoint_and_leaves_the_automation_api_alone(sandbox: Sandbox) -> None:
    sandbox.faults.set("sentinel", Status(429, retry_after=5, times=1))
    answer = put(sandbox)
    assert (answer.status, answer.headers["retry-after"]) == (429, "5")
    sandbox.faults.set("automation", Reset())
    assert put(sandbox).status == 201


def test_the_environment_names_the_workspace(sandbox: Sandbox) -> None:
    assert sandbox.environment()["SENTINEL_WORKSPACE_RESOURCE_ID"] == sandbox.sentinel_workspace
    assert sandbox.account.subscription in sandbox.sentinel_workspace
