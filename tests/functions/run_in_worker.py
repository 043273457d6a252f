"""Run the app's functions in Microsoft's own Python 3.13 worker library, in this process.

``python run_in_worker.py APP_FOLDER FUNCTION [FUNCTION ...]`` prints one JSON object: the names that the worker
indexed and, for each FUNCTION in turn, ``ok`` or the exception that its invocation ended with, and the invocations
that the lines of the stream's background thread belong to. It needs no host and no gRPC: the library takes any message
classes, so plain objects stand in for them.

It is a script of its own because the worker that runs an app is another interpreter than the one that tests it.
"""

import asyncio
import json
import logging
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import azure_functions_runtime as worker


class Message:
    """A protobuf message as far as the library can tell: it keeps what it is given."""

    # The enumerations that the library compares with.
    Failure, Success = 0, 1
    undefined = 0
    exponential_backoff, fixed_delay = 1, 2

    def __init__(self, **fields: Any) -> None:
        self.__dict__.update(fields)


class Binding(Message):
    inout = 2
    string, binary, stream = 1, 2, 3


# ``in`` is a keyword, so it cannot be written as an attribute.
setattr(Binding, "in", 0)
Binding.out = 1  # type: ignore[attr-defined]  # beside ``in``, for the same enumeration


class Messages:
    """Answers every message name with :class:`Message`, as the generated protobuf module would."""

    BindingInfo = Binding

    def __getattr__(self, name: str) -> type[Message]:
        return Message


def envelope(**request: Any) -> SimpleNamespace:
    return SimpleNamespace(request=SimpleNamespace(**request), properties={"host": "127.0.0.1", "protos": Messages()})


def datum(kind: str, value: Any) -> SimpleNamespace:
    return SimpleNamespace(**{kind: value}, WhichOneof=lambda _: kind)


TIMER = json.dumps({"Schedule": {"AdjustForDST": True}, "ScheduleStatus": None, "IsPastDue": False})


RECORD = {
    "time": "2026-03-02T02:50:01.1234567Z",
    "resourceId": "/SUBSCRIPTIONS/11111111-2222-3333-4444-555555555555/RESOURCEGROUPS/RG-OPS/PROVIDERS"
    "/MICROSOFT.AUTOMATION/AUTOMATIONACCOUNTS/AA-PROD/WATCHERS/W1",
    "operationName": "MICROSOFT.AUTOMATION/AUTOMATIONACCOUNTS/WATCHERS/WRITE",
    "resultType": "Success",
    "correlationId": "00000000-0000-4000-8000-000000000001",
}
SYSTEM = [{"EnqueuedTimeUtc": "2026-03-02T02:51:39.992", "SequenceNumber": n, "Offset": "4294967296"} for n in (7, 8)]


def given(name: str) -> tuple[str, Any, dict[str, Any]]:
    """Name and value of the parameter of the function *name*, and the trigger's metadata."""
    if name != "stream":
        return "timer", datum("json", TIMER), {}
    bodies = SimpleNamespace(bytes=[json.dumps({"records": [RECORD]}).encode(), b"\xff\x00damaged"])
    metadata = {
        "SystemPropertiesArray": datum("json", json.dumps(SYSTEM)),
        "PartitionContext": datum("json", json.dumps({"EventHubName": "insights-activity-logs", "PartitionId": "3"})),
    }
    return "events", datum("collection_bytes", bodies), metadata


class Lines(logging.Handler):
    """Whose each line of the background thread is, as the worker finds out: it asks when it is handed the line."""

    def __init__(self) -> None:
        super().__init__()
        self.invocations: list[str | None] = []

    def emit(self, record: logging.LogRecord) -> None:
        if threading.current_thread().name == "stream":
            self.invocations.append(worker.invocation_id_cv.get())


async def invoke(function: Any, number: int) -> str:
    parameter, value, metadata = given(function.name)
    response = await worker.invocation_request(
        envelope(
            invocation_request=SimpleNamespace(
                invocation_id=str(number),
                function_id=function.function_id,
                trace_context=SimpleNamespace(trace_parent="", trace_state="", attributes={}),
                retry_context=SimpleNamespace(retry_count=0, max_retry_count=0, exception=None),
                input_data=[SimpleNamespace(name=parameter, data=value, WhichOneof=lambda _: "data")],
                trigger_metadata=metadata,
            )
        )
    )
    exception = getattr(response.result, "exception", None)
    return "ok" if response.result.status == Message.Success else str(getattr(exception, "message", exception))


async def main(folder: str, names: list[str]) -> None:
    sys.path.insert(0, folder)
    # The proxy worker's isolation takes __main__ away before the app is loaded.
    del sys.modules["__main__"]
    started = await worker.worker_init_request(
        envelope(worker_init_request=SimpleNamespace(capabilities={}, function_app_directory=folder))
    )
    if started.result.status != Message.Success:
        print(json.dumps({"indexed": [], "error": started.result.exception.message}))
        return
    metadata = await worker.functions_metadata_request(envelope())
    functions = {function.name: function for function in metadata.function_metadata_results}
    lines = Lines()
    logging.getLogger().addHandler(lines)
    logging.getLogger().setLevel(logging.INFO)
    outcomes = [[name, await invoke(functions[name], number)] for number, name in enumerate(names)]
    shared = sys.modules["function_app"].shared
    if shared.opened is not None:
        await shared.opened.close()
    if "stream" in functions:
        sys.modules["function_app"].streaming.close()
    told = {"indexed": sorted(functions), "outcomes": outcomes, "lines": lines.invocations}
    print(json.dumps(told | {"duckdb": bool(__import__("duckdb"))}))


if __name__ == "__main__":
    asyncio.run(main(str(Path(sys.argv[1]).resolve()), sys.argv[2:]))
