"""Objects: what quarantine may rely on, whichever store keeps it."""

import os

import pytest

from detectors.state.objects import Objects
from detectors.state.store import Store
from tests.state.conftest import NewStore


def objects_of(store: Store) -> Objects:
    assert isinstance(store, Objects)
    return store


async def test_an_object_of_several_megabytes_reads_back_from_another_process(
    store: Store, new_store: NewStore
) -> None:
    data = os.urandom(3 * 1024 * 1024 + 7)
    await objects_of(store).put_object("a", data)
    other = new_store()
    await other.open()
    assert await objects_of(other).get_object("a") == data


async def test_an_object_is_replaced_listed_in_order_and_deleted(store: Store) -> None:
    objects = objects_of(store)
    assert await objects.list_objects(10) == []
    for name in ("p1-0002", "p0-0001", "p1-0001"):
        await objects.put_object(name, b"")
    await objects.put_object("p0-0001", b"\x00second\xff")
    assert await objects.get_object("p0-0001") == b"\x00second\xff"
    assert await objects.list_objects(10) == ["p0-0001", "p1-0001", "p1-0002"]
    assert await objects.list_objects(2) == ["p0-0001", "p1-0001"]
    assert await objects.list_objects(0) == []
    for _ in range(2):
        await objects.delete_object("p0-0001")
    assert await objects.get_object("p0-0001") is None
    assert await objects.list_objects(10) == ["p1-0001", "p1-0002"]


@pytest.mark.parametrize("name", ["", "../a", "a/b", "a.b", "a\n", "ä", "x" * 201, "-a"])
async def test_a_name_that_a_blob_could_not_have_is_refused(store: Store, name: str) -> None:
    objects = objects_of(store)
    with pytest.raises(ValueError, match="object's name"):
        await objects.put_object(name, b"x")
    with pytest.raises(ValueError, match="object's name"):
        await objects.get_object(name)
    with pytest.raises(ValueError, match="object's name"):
        await objects.delete_object(name)
