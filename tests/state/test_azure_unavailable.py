"""What the Azure store says, and how soon, when the service is away, refuses, or was tampered with."""

import asyncio
import base64
import json
import logging
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

import pytest
from azure.core.credentials import AccessToken, AzureNamedKeyCredential
from azure.core.exceptions import ClientAuthenticationError
from azure.storage.blob import AccountSasPermissions as Permissions
from azure.storage.blob import ResourceTypes, generate_account_sas

from detectors.state.azure import AzureStore
from detectors.state.azure_call import Service
from detectors.state.encoding import RecordUnreadable, utc_now
from detectors.state.objects import Objects
from detectors.state.store import Store, Stored, StoreUnavailable
from sandbox.certificate import write_certificate
from tests.azurite import ACCOUNT, ACCOUNT_KEY, Azurite, running_azurite
from tests.state.calls import Calls
from tests.state.records import NOW, full_record, small_record

ROOT = Path(__file__).parents[2]

# azure-data-tables 12.7.0 tests the truth of an XML element when a refusal is not JSON; Python 3.12 warns of it.
refusals_in_xml = pytest.mark.filterwarnings("ignore:Testing an element's truth value:DeprecationWarning")


@pytest.fixture
async def store(azurite: Azurite, prefix: str) -> AsyncIterator[AzureStore]:
    """An open store."""
    opened = AzureStore.from_connection_string(azurite.connection_string, table_prefix=prefix)
    await opened.open()
    yield opened
    await opened.close()


def every_method(store: Store) -> list[Awaitable[object]]:
    stored = Stored(small_record("a"), 'body W/"0"')
    return [
        store.open(),
        store.create(small_record("a")),
        store.exists("a"),
        store.read("a"),
        store.replace(stored, small_record("a")),
        store.due(NOW, 10),
        store.read_document("a"),
        store.write_document("a", b"", None),
        store.write_document("a", b"", 'W/"0"'),
    ]


def every_object_method(objects: Objects) -> list[Awaitable[object]]:
    return [
        objects.put_object("a", b""),
        objects.get_object("a"),
        objects.list_objects(10, "a"),
        objects.delete_object("a"),
    ]


def key_store(port: int) -> AzureStore:
    endpoint = f"http://127.0.0.1:{port}/{ACCOUNT}"
    return AzureStore(endpoint, endpoint, AzureNamedKeyCredential(ACCOUNT, ACCOUNT_KEY))


async def test_every_method_names_the_endpoint_and_the_next_step_when_nobody_listens() -> None:
    with socket.socket() as unused:
        # Bound but not listening: connections are refused for as long as the test holds it.
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        store = key_store(port)
        calls = [*every_method(store), *every_object_method(store.objects("inventory"))]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        await store.close()
    for outcome in outcomes:
        assert isinstance(outcome, StoreUnavailable)
        assert f"at http://127.0.0.1:{port}/{ACCOUNT}: could not " in str(outcome)
        assert "Check the endpoint's name, DNS, firewall and private endpoint." in str(outcome)
        assert ACCOUNT_KEY not in str(outcome)


async def test_a_service_that_hangs_up_is_given_up_after_a_few_attempts() -> None:
    connections = 0

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.readline()
        writer.close()

    # Four attempts of the client, each of which aiohttp may make twice.
    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    store = key_store(server.sockets[0].getsockname()[1])
    with pytest.raises(StoreUnavailable):
        await store.exists("a")
    assert 1 <= connections <= 8
    connections = 0
    with pytest.raises(StoreUnavailable, match=r"Azure Blobs at .* could not write a record's body"):
        await store._bodies.upload("a/b.json", b"{}")
    assert 1 <= connections <= 8
    await store.close()
    server.close()
    await server.wait_closed()


async def test_a_service_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detectors.state.azure_call.CALL_SECONDS", 0.05)
    hold = asyncio.Event()

    async def say_nothing(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await hold.wait()
        writer.close()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    store = key_store(server.sockets[0].getsockname()[1])
    with pytest.raises(StoreUnavailable, match="no answer within"):
        await store.exists("a")
    await store.close()
    hold.set()
    server.close()
    await server.wait_closed()


def with_rights(azurite: Azurite, prefix: str, *, objects_only: bool, write: bool) -> AzureStore:
    named: dict[str, Any] = {
        "start": utc_now() - timedelta(minutes=5),
        "expiry": utc_now() + timedelta(hours=1),
        "services": "bt",
    }
    resource_types = ResourceTypes(object=True, container=not objects_only, service=False)
    rights = Permissions(read=True, list=True, write=write, add=write, update=write, create=write, delete=write)
    signature = generate_account_sas(ACCOUNT, ACCOUNT_KEY, resource_types, rights, **named)
    return AzureStore.from_connection_string(azurite.connection_string_with_sas(signature), table_prefix=prefix)


@refusals_in_xml
async def test_a_refusal_names_the_role_that_is_missing_and_no_secret(
    azurite: Azurite, prefix: str, store: AzureStore
) -> None:
    reader = with_rights(azurite, prefix, objects_only=False, write=False)
    await store.write_document("a", b"1", None)
    with pytest.raises(StoreUnavailable, match="status 403") as raised:
        await reader.write_document("b", b"1", None)
    message = str(raised.value)
    assert f"Azure Tables at {azurite.table_endpoint}: could not write to table {prefix}Documents" in message
    assert "the role 'Storage Table Data Contributor'" in message
    assert "sig=" not in message
    with pytest.raises(StoreUnavailable, match=r"Azure Blobs.*the role 'Storage Blob Data Contributor'"):
        await reader.create(small_record("a"))
    await reader.close()


@refusals_in_xml
async def test_open_accepts_an_identity_that_may_not_create_what_exists_already(
    azurite: Azurite, prefix: str, store: AzureStore
) -> None:
    limited = with_rights(azurite, prefix, objects_only=True, write=True)
    elsewhere = with_rights(azurite, f"{prefix}x", objects_only=True, write=True)
    with pytest.raises(StoreUnavailable, match=rf"could not create table {prefix}xRecords: status 403"):
        await elsewhere.open()
    await store.write_document("a", b"1", None)
    await limited.open()
    document = await limited.read_document("a")
    assert document is not None
    assert await limited.write_document("a", b"2", document.version) == await store.read_document("a")

    await store._bodies._container.delete_container()
    with pytest.raises(StoreUnavailable, match=rf"could not create container {prefix}-records: status 403"):
        await limited.open()
    await limited.close()
    await elsewhere.close()


async def test_a_deleted_table_is_an_outage_and_not_an_empty_one(store: AzureStore) -> None:
    await store.create(small_record("a"))
    stored = await store.read("a")
    assert stored is not None
    for table in (store._records, store._work, store._documents):
        await table.delete_table()
    # Without the first: open() would make them anew.
    first, *others = every_method(store)
    outcomes = await asyncio.gather(*others, store.replace(stored, stored.record), return_exceptions=True)
    await first
    for outcome in outcomes:
        assert isinstance(outcome, StoreUnavailable)
        assert "TableNotFound" in str(outcome)
        assert "restart the detector" in str(outcome)


async def test_a_deleted_container_is_an_outage_and_not_an_empty_one(store: AzureStore) -> None:
    objects = store.objects("inventory")
    await objects.put_object("a", b"")
    await objects._container.delete_container()
    outcomes = await asyncio.gather(*every_object_method(objects), return_exceptions=True)
    for outcome in outcomes:
        assert isinstance(outcome, StoreUnavailable)
        assert "ContainerNotFound" in str(outcome)
        assert "restart the detector" in str(outcome)


async def test_a_listing_of_several_pages_is_whole_and_stops_at_its_limit(
    store: AzureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("detectors.state.azure_objects._PAGE", 2)
    objects = store.objects("inventory")
    names = [f"a-{number}" for number in range(5)]
    for name in [*names, "b-0"]:
        await objects.put_object(name, b"")
    assert await objects.list_objects(10, "a-") == names
    assert await objects.list_objects(3, "a-") == names[:3]
    assert await objects.list_objects(10) == [*names, "b-0"]


async def test_a_body_that_is_gone_or_altered_is_told_from_an_outage(store: AzureStore) -> None:
    await store.create(small_record("a"))
    entity = await anext(store._records.list_entities())
    container = store._bodies._container
    await container.upload_blob(entity["body"], b'{"id": "a"}', overwrite=True)
    with pytest.raises(RecordUnreadable, match="does not match its digest"):
        await store.read("a")
    await container.delete_blob(entity["body"])
    with pytest.raises(RecordUnreadable, match=r"which is not there\. Restore it"):
        await store.read("a")


@pytest.mark.parametrize("clean_up", ["delete a work row", "delete a superseded body"])
async def test_a_failed_clean_up_is_logged_and_does_not_undo_the_commit(
    azurite: Azurite, prefix: str, store: AzureStore, caplog: pytest.LogCaptureFixture, clean_up: str
) -> None:
    async def fail() -> None:
        raise StoreUnavailable("it is down")

    await store.create(small_record("a"))
    stored = await store.read("a")
    assert stored is not None
    calls = Calls(clean_up, fail)
    failing = AzureStore.from_connection_string(azurite.connection_string, table_prefix=prefix, reach=calls)
    with caplog.at_level(logging.WARNING):
        stored = await failing.replace(stored, small_record("a", due=None))
    await failing.close()
    assert calls.stopped
    assert "it is down" in caplog.text
    assert await store.read("a") == stored
    assert await store.due(NOW, 10) == []


class Tokens:
    """A credential as azure-identity's asynchronous ones are."""

    def __init__(self, failure: Exception | None = None) -> None:
        self._failure = failure

    async def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        if self._failure is not None:
            raise self._failure
        assert scopes == ("https://storage.azure.com/.default",)
        start = int(time.time()) - 60
        claims = {
            "aud": "https://storage.azure.com",
            "iss": "https://sts.windows.net/00000000-0000-0000-0000-000000000000/",
            "iat": start,
            "nbf": start,
            "exp": start + 3600,
        }
        parts = (base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in ({"alg": "none"}, claims))
        return AccessToken(b".".join((*parts, b"c2ln")).decode(), start + 3600)

    async def close(self) -> None:
        pass

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass


async def test_a_managed_identity_over_tls_can_do_everything(tmp_path: Path) -> None:
    certificate, key = write_certificate(tmp_path)
    flags = ("--oauth", "basic", "--cert", str(certificate), "--key", str(key))
    with running_azurite(tmp_path, *flags, scheme="https", host="localhost") as secure:
        store = AzureStore(secure.table_endpoint, secure.blob_endpoint, Tokens(), connection_verify=str(certificate))
        await store.open()
        assert await store.create(full_record("a"))
        stored = await store.read("a")
        assert stored is not None
        await store.replace(stored, small_record("a"))
        assert await store.due(NOW, 1) == ["a"]
        await store.close()

        untrusted = AzureStore(secure.table_endpoint, secure.blob_endpoint, Tokens())
        with pytest.raises(StoreUnavailable, match=r"certificate"):
            await untrusted.exists("a")
        await untrusted.close()

        failure = ClientAuthenticationError("ManagedIdentityCredential: no identity was found")
        nobody = AzureStore(
            secure.table_endpoint, secure.blob_endpoint, Tokens(failure), connection_verify=str(certificate)
        )
        with pytest.raises(StoreUnavailable, match=r"no identity was found. No token was issued"):
            await nobody.exists("a")
        await nobody.close()


@pytest.mark.parametrize("prefix", ["", "1a", "a-b", "a/b", "a" * 52])
def test_a_prefix_that_azure_would_not_take_is_refused(prefix: str) -> None:
    with pytest.raises(ValueError, match="table_prefix is 1 to 51 letters and digits"):
        AzureStore.from_connection_string("UseDevelopmentStorage=true", table_prefix=prefix)


async def test_development_storage_is_the_emulator_on_its_own_ports() -> None:
    store = AzureStore.from_connection_string("UseDevelopmentStorage=true")
    assert store._tables == Service(
        "Azure Tables", f"http://127.0.0.1:10002/{ACCOUNT}", "Storage Table Data Contributor"
    )
    assert store._bodies._service.endpoint == f"http://127.0.0.1:10000/{ACCOUNT}"
    await store.close()


def test_importing_the_store_does_not_import_the_azure_packages() -> None:
    program = (
        "import sys, detectors.state.azure, detectors.state.sqlite\n"
        "print([name for name in sys.modules if name.split('.')[0] in {'azure', 'aiohttp'}])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
