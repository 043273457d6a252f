"""The triggers. No logic: each hands over to :class:`detectors.app.Detector`, which the command line runs as well."""

import os
import sys
import types

# From Python 3.13 the Functions worker takes __main__ away, and duckdb imports it when it loads.
sys.modules.setdefault("__main__", types.ModuleType("__main__"))

import azure.functions as func

from detectors.app import SharedDetector

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


@app.timer_trigger(arg_name="timer", schedule="30 * * * * *", run_on_startup=False, use_monitor=False)
async def deliver(timer: func.TimerRequest) -> None:
    """Every minute: whatever is stored and not yet delivered."""
    await (await shared.get()).deliver()
