"""Run the app's functions in Microsoft's own Python 3.13 worker library, in this process.

``python run_in_worker.py APP_FOLDER FUNCTION [FUNCTION ...]`` prints one JSON object: the names that the worker
indexed and, for each FUNCTION in turn, ``ok`` or the exception that its invocation ended with. It needs no host and
no gRPC: the library takes any message classes, so plain objects stand in for them.

It is a script of its own because the worker that runs an app is another interpreter than the one that tests it.
"""

import asyncio
import json
import sys
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


async def invoke(function: Any, number: int) -> str:
    response = await worker.invocation_request(
        envelope(
            invocation_request=SimpleNamespace(
                invocation_id=str(number),
                function_id=function.function_id,
                trace_context=SimpleNamespace(trace_parent="", trace_state="", attributes={}),
                retry_context=SimpleNamespace(retry_count=0, max_retry_count=0, exception=None),
                input_data=[SimpleNamespace(name="timer", data=datum("json", TIMER), WhichOneof=lambda _: "data")],
                trigger_metadata={},
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
    outcomes = [[name, await invoke(functions[name], number)] for number, name in enumerate(names)]
    shared = sys.modules["function_app"].shared
    if shared.opened is not None:
        await shared.opened.close()
    print(json.dumps({"indexed": sorted(functions), "outcomes": outcomes, "duckdb": bool(__import__("duckdb"))}))


if __name__ == "__main__":
    asyncio.run(main(str(Path(sys.argv[1]).resolve()), sys.argv[2:]))
