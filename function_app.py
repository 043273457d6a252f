"""The triggers. No logic: each hands over to :class:`detectors.app.Detector`, which the command line runs as well."""

# ruff: noqa: UP006
# The worker refuses list[...] as an annotation of a trigger, and with one function the whole app is gone.

import os
import sys
import types
import typing

# From Python 3.13 the Functions worker takes __main__ away, and duckdb imports it when it loads.
sys.modules.setdefault("__main__", types.ModuleType("__main__"))

import azure.functions as func

from detectors import fast_dates
from detectors.worker import CONNECTION, SharedDetector, StreamDetector, binding_setting, stream_is_set_up

app = func.FunctionApp()
shared = SharedDetector(os.environ)


@app.timer_trigger(arg_name="timer", schedule="0 */5 * * * *", run_on_startup=False, use_monitor=True)
async def hunt(timer: func.TimerRequest) -> None:
    """Every five minutes: each rule over what is new since its watermark."""
    await (await shared.get()).hunt()


@app.timer_trigger(arg_name="timer", schedule="0 7 * * * *", run_on_startup=False, use_monitor=True)
async def sweep(timer: func.TimerRequest) -> None:
    """Every hour, seven minutes past: the last day again, for stragglers."""
    await (await shared.get()).sweep()


@app.timer_trigger(arg_name="timer", schedule="0 2-59/5 * * * *", run_on_startup=False, use_monitor=True)
async def inventory(timer: func.TimerRequest) -> None:
    """Every five minutes, between two hunts: what has changed in the automation accounts, logged or not."""
    await (await shared.get()).inventory()


@app.timer_trigger(arg_name="timer", schedule="30 * * * * *", run_on_startup=False, use_monitor=False)
async def deliver(timer: func.TimerRequest) -> None:
    """Every minute: whatever is stored and not yet delivered."""
    await (await shared.get()).deliver()


if stream_is_set_up(os.environ):
    streaming = StreamDetector(os.environ, warning=fast_dates.install())

    # Without an end: it raises only while the store takes nothing at all, and then a checkpoint would lose the batch.
    @app.event_hub_message_trigger(
        arg_name="events",
        connection=CONNECTION,
        event_hub_name=binding_setting(os.environ, "ACTIVITY_LOG_HUB_NAME", "insights-activity-logs"),
        consumer_group=binding_setting(os.environ, "ACTIVITY_LOG_HUB_CONSUMER_GROUP", "$Default"),
        cardinality=func.Cardinality.MANY,
        data_type=func.DataType.BINARY,
    )
    @app.retry(
        strategy="exponential_backoff",
        max_retry_count="-1",
        minimum_interval="00:00:05",
        maximum_interval="00:05:00",
    )
    def stream(events: typing.List[func.EventHubEvent], context: func.Context) -> None:
        """Every batch of the Activity Log's Event Hub export: the rules that run on the stream."""
        streaming.run(events, context)
