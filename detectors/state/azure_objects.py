"""Objects in Azure: one container per namespace, one blob per object."""

import contextlib
from typing import TYPE_CHECKING

from detectors.state.azure_call import Reaching, Refused, blobs_at, ensure
from detectors.state.objects import check_object_name, check_prefix

if TYPE_CHECKING:
    from azure.storage.blob.aio import BlobServiceClient

_PAGE = 1_000


class AzureObjects:
    """The objects in one container; *client* belongs to the store, which closes it.

    The container is created on first use, not by ``open``: a cold start pays for every call, quarantine is rare, and
    the stream never needs the inventory.
    """

    def __init__(self, client: "BlobServiceClient", container: str, reaching: Reaching) -> None:
        self._container = client.get_container_client(container)
        self._service = blobs_at(client.url)
        self._reaching = reaching
        self._ready = False

    async def put_object(self, name: str, data: bytes) -> None:
        """Write *data* as *name*; see :meth:`detectors.state.objects.Objects.put_object`."""
        check_object_name(name)
        await self._prepare()
        async with self._reaching(self._service, "write an object"):
            await self._container.upload_blob(name, data, overwrite=True)

    async def get_object(self, name: str) -> bytes | None:
        """The bytes of *name*, or None."""
        check_object_name(name)
        await self._prepare()
        try:
            async with self._reaching(self._service, "read an object", conditional=True):
                stream = await self._container.download_blob(name)
                return await stream.readall()
        except Refused:
            return None

    async def list_objects(self, limit: int, prefix: str = "") -> list[str]:
        """The first *limit* names that begin with *prefix*, in the order of their characters."""
        check_prefix(prefix)
        if limit < 1:
            return []
        await self._prepare()
        names: list[str] = []
        pages = self._container.list_blob_names(
            name_starts_with=prefix or None, results_per_page=min(limit, _PAGE)
        ).by_page()
        while len(names) < limit:
            async with self._reaching(self._service, "list the objects"):
                page = await anext(pages, None)
                if page is None:
                    break
                names += [name async for name in page]
        return names[:limit]

    async def delete_object(self, name: str) -> None:
        """Delete *name* if it is there."""
        check_object_name(name)
        await self._prepare()
        with contextlib.suppress(Refused):
            async with self._reaching(self._service, "delete an object", conditional=True):
                await self._container.delete_blob(name)

    async def _prepare(self) -> None:
        if self._ready:
            return
        await ensure(
            self._reaching,
            self._service,
            f"create container {self._container.container_name}",
            self._container.create_container,
            self._container.get_blob_client("probe").get_blob_properties,
        )
        self._ready = True
