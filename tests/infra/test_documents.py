"""What the documents say of the deployment is what the templates and the code do."""

import json
import re
from pathlib import Path
from typing import Final

import pytest

from detectors.automation.permissions import READS
from detectors.settings import describe

ROOT: Final = Path(__file__).parents[2]
INFRA: Final = ROOT / "infra"
MAIN: Final = (INFRA / "main.bicep").read_text(encoding="utf-8")
ALERTS: Final = (INFRA / "modules" / "alerts.bicep").read_text(encoding="utf-8")
DEPLOY, SECURITY, OPERATE, README = (
    (ROOT / name).read_text(encoding="utf-8") if (ROOT / name).exists() else ""
    for name in ("docs/deploy.md", "docs/security.md", "docs/operate.md", "README.md")
)
VALUES: Final = (INFRA / "main.parameters.json").read_text(encoding="utf-8")
VARIABLES: Final = set(re.findall(r"\$\{(\w+)", VALUES))
"""Of azd's environment, as main.parameters.json takes them."""
BICEP: Final = "".join(path.read_text(encoding="utf-8") for path in sorted(INFRA.rglob("*.bicep")))

_PARAMETER: Final = re.compile(
    r"@description\('(?P<description>[^\n]*)'\)\n(?:@[^\n]*\n)*param (?P<name>\w+) [^=\n]+(?:= (?P<default>[^\n]+))?\n"
)


def parameter_table() -> str:
    """The parameters of infra/main.bicep as docs/deploy.md shows them, in their order."""
    given = json.loads(VALUES)["parameters"]
    lines = ["| parameter | azd variable | default | what it is |", "|---|---|---|---|"]
    for match in _PARAMETER.finditer(MAIN):
        variable = re.fullmatch(r"\$\{(\w+)(?:=.*)?\}", str(given.get(match["name"], {}).get("value")))
        default = (match["default"] or "**required**").strip("'")
        shown = default if default in {"", "**required**"} else f"`{default}`"
        named = f"`{variable[1]}`" if variable else ""
        lines.append(f"| `{match['name']}` | {named} | {shown} | {match['description']} |")
    return "\n".join(lines)


def first_cells(text: str, prefix: str) -> list[str]:
    """What stands in backticks in the first column of every table row that begins with *prefix*."""
    return re.findall(rf"^\| `({re.escape(prefix)}[^`]*)` \|", text, re.MULTILINE)


def test_every_parameter_of_the_template_is_in_the_table() -> None:
    table = parameter_table()
    assert re.findall(r"^param (\w+)", MAIN, re.MULTILINE) == re.findall(r"^\| `(\w+)`", table, re.MULTILINE)
    assert table in DEPLOY, f"put this table into docs/deploy.md:\n{table}"


def test_every_azd_variable_that_is_named_is_one_of_the_template() -> None:
    named = set(re.findall(r"\bDETECTOR_\w+", DEPLOY + README + OPERATE + SECURITY))
    assert named
    assert named <= VARIABLES


@pytest.mark.parametrize("text", [DEPLOY, SECURITY, OPERATE, README], ids=["deploy", "security", "operate", "readme"])
def test_every_link_leads_to_a_file_and_a_heading(text: str) -> None:
    folder = ROOT if text is README else ROOT / "docs"
    for target, heading in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", text):
        path = (folder / target).resolve() if target else None
        assert path is None or path.exists(), target
        if heading:
            linked = text if path is None else path.read_text(encoding="utf-8")
            headings = {
                re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")
                for title in re.findall(r"^#+ (.+)$", linked, re.MULTILINE)
            }
            assert heading in headings, f"{target}#{heading}"


def test_every_permission_has_one_row_with_the_reasons_of_the_code() -> None:
    rows = first_cells(SECURITY, "Microsoft.Automation/")
    assert rows == list(READS)
    for action, read in READS.items():
        start = f"| `{action}` | {read.why} | {read.without} | "
        (row,) = [line for line in SECURITY.splitlines() if line.startswith(start)]
        assert len(row.removeprefix(start).strip("| ")) > 10, f"{action}: say what an attacker could do with it"


def test_every_pattern_that_stands_for_an_unlisted_permission_is_explained() -> None:
    prose = "\n".join(line for line in SECURITY.splitlines() if not line.startswith("|"))
    granted = {read.granted_by for read in READS.values() if read.granted_by}
    assert granted
    for pattern in granted:
        assert f"`{pattern}`" in prose
    for action in [action for action, read in READS.items() if read.granted_by and "/content/" not in action]:
        assert action.removeprefix("Microsoft.Automation/automationAccounts/") in prose


def test_every_role_that_the_templates_assign_is_in_the_table_and_no_other() -> None:
    assigned = set(re.findall(r"'[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}' // ([A-Z][\w ]+)$", BICEP, re.MULTILINE))
    told = set(re.findall(r"^\| ([A-Z][\w ]+) \| ", SECURITY, re.MULTILINE))
    assert assigned
    assert told == assigned


def test_every_alert_about_the_detector_has_a_section_and_every_section_an_alert() -> None:
    titles = re.findall(r"title: 'Azure Automation detector: ([^']+)'", ALERTS)
    names = [*re.findall(r"^    name: '([\w-]+)'$", ALERTS, re.MULTILINE), "event-hub-lag"]
    assert len(names) == len(titles) + 1
    assert "-event-hub-lag'" in ALERTS
    section = OPERATE.split("## Alerts of Azure Monitor")[1].split("\n## ")[0]
    assert re.findall(r"^### `([\w-]+)`", section, re.MULTILINE) == names
    for title in titles:
        assert f'"{title}"' in section


def test_the_claim_is_no_more_than_what_is_done() -> None:
    assert "checked structurally offline, compiled in CI, and never deployed by us" in " ".join(DEPLOY.split())


def test_the_settings_that_are_named_exist() -> None:
    known = {setting.name for setting in describe()}
    named = set(re.findall(r"`([A-Z]+_[A-Z_]+)(?:=[^`]*)?`", DEPLOY + SECURITY))
    outputs = set(re.findall(r"^output (\w+)", MAIN, re.MULTILINE))
    assert named & known
    # The last one is the platform's, and told as what the templates leave out.
    assert named <= known | outputs | VARIABLES | {"FUNCTIONS_EXTENSION_VERSION"}


def test_the_containers_and_tables_that_are_named_are_those_of_the_template() -> None:
    storage = (INFRA / "modules" / "storage.bicep").read_text(encoding="utf-8")
    told = set(re.findall(r"`(detector-(?!TOKEN)[a-z]+|detector[A-Z]\w+)`", DEPLOY))
    made = set(re.findall(r"^  '(detector[-A-Z]\w+)'$", storage, re.MULTILINE))
    assert told == made
