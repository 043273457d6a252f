"""Checkov finds nothing in the templates that is not explained where it stands."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

from tests.infra.__main__ import INFRA
from tests.infra.template import ROOT

CHECKOV: Final = ROOT / ".venv-checkov" / "bin" / "checkov"

# Its own parser knows neither types nor functions with an arrow. The first creates a resource group and no other
# resource; the second only settings, and their names have a test of their own.
UNREADABLE: Final = {"infra/main.bicep", "infra/modules/app-settings.bicep"}


def scan(folder: Path) -> dict[str, Any]:
    """What Checkov says of the templates below *folder*."""
    assert CHECKOV.exists(), "`make tools` installs it"
    # Without skip-download it asks its maker for texts first, and waits.
    done = subprocess.run(
        [CHECKOV, "--directory", folder, "--framework", "bicep", "--output", "json", "--skip-download"],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        timeout=300,
    )
    assert done.returncode in {0, 1}, done.stderr[-2000:]
    report: dict[str, Any] = json.loads(done.stdout)["results"]
    return report


def test_nothing_is_found_that_is_not_explained(tmp_path: Path) -> None:
    # One test and one scan, of the templates and of one that was made worse: its start takes seconds.
    shutil.copytree(INFRA, tmp_path / "infra")
    (tmp_path / "worse").mkdir()
    storage = (INFRA / "modules" / "storage.bicep").read_text(encoding="utf-8")
    good = "supportsHttpsTrafficOnly: true"
    assert good in storage
    (tmp_path / "worse" / "storage.bicep").write_text(storage.replace(good, good.replace("true", "false")))
    report = scan(tmp_path)

    failed = [(each["file_path"], each["check_id"], each["check_name"]) for each in report["failed_checks"]]
    assert [each for each in failed if each[0] != "/worse/storage.bicep"] == []
    assert [check for _, check, _ in failed] == ["CKV_AZURE_3"], "what was made worse is found"

    skipped = {each["check_id"]: each["check_result"]["suppress_comment"] for each in report["skipped_checks"]}
    assert all(len(reason) > 20 for reason in skipped.values()), skipped

    assert {str(Path(each).relative_to(tmp_path)) for each in report["parsing_errors"]} == UNREADABLE
    read = {each["file_path"].removeprefix("/infra/modules/") for each in report["passed_checks"]}
    assert read >= {"app.bicep", "events.bicep", "storage.bicep", "vault.bicep"}
