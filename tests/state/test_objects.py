"""Objects: what quarantine and the inventory may rely on, whichever store keeps them."""

import os
from typing import Any, cast, get_args

import pytest

from detectors.state.objects import Namespace, Objects, ObjectStore
from detectors.state.store import Store
from tests.state.conftest import NewStore

NAMESPACES: tuple[Namespace, ...] = get_args(Namespace)


def objects_of(store: Store, namespace: Namespace = "inventory") -> Objects:
    return cast("ObjectStore", store).objects(namespace)


@pytest.fixture(params=NAMESPACES)
def objects(store: Store, request: pytest.FixtureRequest) -> Objects:
    """An empty namespace of an open store."""
    return objects_of(store, request.param)


@pytest.mark.parametrize("namespace", NAMESPACES)
async def test_an_object_of_several_megabytes_reads_back_from_another_process(
    store: Store, new_store: NewStore, namespace: Namespace
) -> None:
    data = os.urandom(3 * 1024 * 1024 + 7)
    await objects_of(store, namespace).put_object("a", data)
    other = new_store()
    await other.open()
    assert await objects_of(other, namespace).get_object("a") == data


async def test_an_object_is_replaced_listed_in_order_and_deleted(objects: Objects) -> None:
    assert await objects.list_objects(10) == []
    for name in ("p1-0002", "p0-0001", "p1-0001"):
        await objects.put_object(name, b"")
    await objects.put_object("p0-0001", b"\x00second\xff")
    assert await objects.get_object("p0-0001") == b"\x00second\xff"
    assert await objects.list_objects(10) == ["p0-0001", "p1-0001", "p1-0002"]
    assert await objects.list_objects(2) == ["p0-0001", "p1-0001"]
    assert await objects.list_objects(0) == []
    assert await objects.list_objects(-1) == []
    for _ in range(2):
        await objects.delete_object("p0-0001")
    assert await objects.get_object("p0-0001") is None
    assert await objects.list_objects(10) == ["p1-0001", "p1-0002"]


async def test_only_names_that_begin_with_the_prefix_are_listed_and_no_character_stands_for_another(
    objects: Objects,
) -> None:
    names = ["a", "a-1", "a-2", "a-20", "a_1", "ab", "aB", "a-2z", "A-2", "b-1"]
    for name in names:
        await objects.put_object(name, b"")
    assert await objects.list_objects(20, "a-") == ["a-1", "a-2", "a-20", "a-2z"]
    assert await objects.list_objects(2, "a-") == ["a-1", "a-2"]
    assert await objects.list_objects(20, "a_") == ["a_1"]
    assert await objects.list_objects(20, "a-2") == ["a-2", "a-20", "a-2z"]
    assert await objects.list_objects(20, "A") == ["A-2"]
    assert await objects.list_objects(20, "c") == []
    assert await objects.list_objects(20, "") == sorted(names)


@pytest.mark.parametrize("beginning", ["-", "_a", "a/", "a%", "a*", "a\n", "ä", "x" * 201])
async def test_a_prefix_that_no_name_begins_with_is_refused(objects: Objects, beginning: str) -> None:
    with pytest.raises(ValueError, match="cannot begin with"):
        await objects.list_objects(10, beginning)


async def test_a_namespace_neither_shows_nor_changes_what_is_in_another(store: Store, new_store: NewStore) -> None:
    for namespace in NAMESPACES:
        await objects_of(store, namespace).put_object("same", namespace.encode())
        await objects_of(store, namespace).put_object(f"only-{namespace}", b"")
    await objects_of(store, "inventory").delete_object("only-quarantine")
    other = new_store()
    await other.open()
    for namespace in NAMESPACES:
        assert await objects_of(other, namespace).list_objects(10) == [f"only-{namespace}", "same"]
        assert await objects_of(other, namespace).get_object("same") == namespace.encode()
    await objects_of(other, "inventory").delete_object("same")
    assert await objects_of(store, "inventory").get_object("same") is None
    assert await objects_of(store, "quarantine").get_object("same") == b"quarantine"


def test_a_namespace_that_no_store_keeps_is_refused(store: Store) -> None:
    unknown: Any = "objects; DROP TABLE records"
    with pytest.raises(ValueError, match=r"namespaces quarantine, inventory; not in 'objects; DROP"):
        objects_of(store, unknown)


@pytest.mark.parametrize("name", ["", "../a", "a/b", "a.b", "a\n", "ä", "x" * 201, "-a"])
async def test_a_name_that_a_blob_could_not_have_is_refused(objects: Objects, name: str) -> None:
    with pytest.raises(ValueError, match="object's name"):
        await objects.put_object(name, b"x")
    with pytest.raises(ValueError, match="object's name"):
        await objects.get_object(name)
    with pytest.raises(ValueError, match="object's name"):
        await objects.delete_object(name)
