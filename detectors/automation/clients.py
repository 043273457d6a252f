"""Automation clients, one per subscription, built when first needed."""

import logging
import ssl
import urllib.request
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from azure.core.credentials_async import AsyncTokenCredential
    from azure.core.pipeline.transport import AioHttpTransport
    from azure.mgmt.automation.aio import AutomationClient

PUBLIC_CLOUD = "https://management.azure.com"


class AutomationClients:
    """A factory and cache of ``azure.mgmt.automation.aio.AutomationClient``.

    :param credential: an async credential; the caller closes it.
    :param base_url: Azure Resource Manager, ``https://…``.
    :param scope: what to ask a token for. ``None``: ``<base_url>/.default`` (right for every cloud); a simulation
        on localhost names the public scope instead.
    :param connection_verify: False is not for production; a path names a CA bundle.
    :param retry_total: retries per operation, over the first attempt.
    :param operation_timeout: seconds per operation, all its retries included.
    :param longest_retry_after: a ``Retry-After`` above this many seconds is not waited for.
    """

    def __init__(
        self,
        credential: "AsyncTokenCredential",
        *,
        base_url: str = PUBLIC_CLOUD,
        scope: str | None = None,
        connection_verify: bool | str = True,
        retry_total: int = 2,
        operation_timeout: float = 20.0,
        longest_retry_after: float = 5.0,
    ) -> None:
        self._credential = credential
        self._base_url = base_url.rstrip("/")
        self._scope = scope or f"{self._base_url}/.default"
        self._connection_verify = connection_verify
        self._retry_total = retry_total
        self._operation_timeout = operation_timeout
        self._longest_retry_after = longest_retry_after
        self._clients: dict[str, AutomationClient] = {}

    def get(self, subscription_id: str) -> "AutomationClient":
        """The client of that subscription. Synchronous, so two callers never build two."""
        key = subscription_id.casefold()
        if key not in self._clients:
            self._clients[key] = self._build(subscription_id)
        return self._clients[key]

    async def close(self) -> None:
        """Release connections. Idempotent; a later ``get`` builds anew."""
        while self._clients:
            _, client = self._clients.popitem()
            await client.close()

    def _build(self, subscription_id: str) -> "AutomationClient":
        from azure.mgmt.automation.aio import AutomationClient

        from detectors.automation.policies import BoundedRetry, SameHostReads

        # It logs a traceback for every error body that is not JSON (a proxy's 502); the error itself is reported.
        logging.getLogger("azure.mgmt.automation._utils.model_base").setLevel(logging.ERROR)
        retry = BoundedRetry(
            longest=self._longest_retry_after,
            retry_total=self._retry_total,
            retry_status=self._retry_total,
            timeout=self._operation_timeout,
        )
        return AutomationClient(
            self._credential,
            subscription_id,
            self._base_url,
            credential_scopes=[self._scope],
            transport=_transport(self._connection_verify),
            retry_policy=retry,
            per_retry_policies=[SameHostReads(self._base_url)],
        )


def _transport(verify: bool | str) -> "AioHttpTransport":  # noqa: FBT001 - as the SDK has it
    """azure-core's own transport, without what it does anew for every call."""
    import aiohttp
    from azure.core.pipeline.transport import AioHttpTransport

    # With these settings aiohttp looks for proxies in a thread, for every call: as much work as the rest of it.
    proxies = bool(urllib.request.getproxies())
    if isinstance(verify, str):
        # Given a path, azure-core makes a TLS context for every call, and so a connection.
        try:
            context = ssl.create_default_context(cafile=verify)
        except OSError:
            # Let each call say so: a reader that is told why tells the responder.
            return AioHttpTransport(connection_verify=verify, use_env_settings=proxies)
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=context),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=proxies,
        )
        return AioHttpTransport(session=session, use_env_settings=proxies)
    return AioHttpTransport(connection_verify=verify, use_env_settings=proxies)
