"""Start-up stays cheap: what sends is loaded when something is sent."""

import subprocess
import sys


def test_importing_the_destinations_loads_neither_azure_nor_aiohttp() -> None:
    script = (
        "import sys, detectors.delivery.teams, detectors.delivery.webhook, detectors.delivery.log_table\n"
        "print([name for name in sys.modules if name.split('.')[0] in ('azure', 'aiohttp')])"
    )
    finished = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert finished.stdout.strip() == "[]"
