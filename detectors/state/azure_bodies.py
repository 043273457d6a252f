"""The container that holds what is too large for a table: one blob per version of a record."""

import contextlib
import logging
from typing import TYPE_CHECKING

from detectors.model import Record
from detectors.state.azure_call import Reaching, Refused, blobs_at, ensure
from detectors.state.encoding import RecordUnreadable, decode_record, sha256, storage_key
from detectors.state.store import StoreUnavailable

if TYPE_CHECKING:
    from azure.storage.blob.aio import BlobServiceClient

_log = logging.getLogger(__name__)


def body_name(record_id: str, data: bytes, writer: str) -> str:
    """``<id>/<sha256>-<writer>.json``. Why the writer is in it: :mod:`detectors.state.azure`."""
    return f"{storage_key(record_id)}/{sha256(data)}-{writer}.json"


class Bodies:
    """The bodies in one container; owns the connections of *client*."""

    def __init__(self, client: "BlobServiceClient", container: str, reaching: Reaching) -> None:
        self._client = client
        self._container = client.get_container_client(container)
        self._service = blobs_at(client.url)
        self._reaching = reaching

    def where(self, name: str) -> str:
        """The blob *name* as messages call it."""
        return f"blob {name} in container {self._container.container_name} at {self._service.endpoint}"

    async def open(self) -> None:
        """Create the container if it is missing."""
        await ensure(
            self._reaching,
            self._service,
            f"create container {self._container.container_name}",
            self._container.create_container,
            self._container.get_blob_client("probe").get_blob_properties,
        )

    async def close(self) -> None:
        """Close the client's connections."""
        await self._client.close()

    async def upload(self, name: str, data: bytes) -> None:
        """Write the body *name*."""
        from azure.storage.blob import ContentSettings

        async with self._reaching(self._service, "write a record's body"):
            # overwrite: nobody else writes this name, but the client may repeat the request.
            await self._container.upload_blob(
                name, data, overwrite=True, content_settings=ContentSettings(content_type="application/json")
            )

    async def download(self, name: str) -> bytes | None:
        """The body *name*, or None when it is gone."""
        try:
            async with self._reaching(self._service, "read a record's body", conditional=True):
                stream = await self._container.download_blob(name)
                return await stream.readall()
        except Refused:
            return None

    async def discard(self, name: str) -> None:
        """Delete a body that nothing names any more. Best effort: what stays costs space, not truth."""
        try:
            with contextlib.suppress(Refused):
                async with self._reaching(self._service, "delete a superseded body", conditional=True):
                    await self._container.delete_blob(name)
        except StoreUnavailable as error:
            _log.warning("The superseded %s stays: %s", self.where(name), error)

    def decode(self, name: str, data: bytes) -> Record:
        """The record in *data*, checked against the digest in its name. Raises :class:`RecordUnreadable`."""
        if sha256(data) != name.rpartition("/")[2].partition("-")[0]:
            raise RecordUnreadable(f"The {self.where(name)} does not match its digest. Restore its earlier version.")
        return decode_record(data, f"The {self.where(name)}")
