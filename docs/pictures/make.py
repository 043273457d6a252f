# ruff: noqa: INP001, T201 - a script beside its pictures, not a package; it reports what it wrote
"""Make the pictures of the documentation from a real run of the detector on the simulated Azure.

Run it from anywhere, after ``make tools``, on a machine that has Chromium:

    .venv/bin/python docs/pictures/make.py [--chromium PROGRAM] [--all]

It plays the bundled attack, takes its worst alert and writes beside itself:

* ``terminal.svg``: the alert in the terminal
* ``alert-page.png``: the top of the page that ``make demo`` writes
* ``alert-card.png``: the Teams card, drawn by Microsoft's official Adaptive Cards renderer (``tests/node``)
* ``card-single-``, ``card-follow-up-`` and ``card-digest-``, each as ``light.png`` and ``dark.png``: the top of a
  card on a phone, 390 pixels wide. Single is the first severe alert of the attack, follow-up the last one of the same
  story, and digest what Teams gets when all of them come with more than it takes

``--all FOLDER`` also writes the page and the cards at desktop and phone width, light and dark, to look at. The
official renderer does not know ``CodeBlock``, which Teams does: the picture shows the card's own fallback for it.
"""

import argparse
import asyncio
import io
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

HERE = Path(__file__).parent
ROOT = HERE.parent.parent

if TYPE_CHECKING:
    from detectors.model import Alert

RENDERER = ROOT / "tests" / "node" / "node_modules" / "adaptivecards" / "dist" / "adaptivecards.min.js"
PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "chrome")
DARK, LIGHT = 0, 1
"""Values of Blink's setting preferredColorScheme."""
PHONE = 390
"""Pixels: what most phones are wide."""

_COLOURS: Mapping[int, dict[str, str]] = {
    LIGHT: {
        "page": "#f5f5f5",
        "default": "#242424",
        "subtle": "#616161",
        "attention": "#c4314b",
        "warning": "#835c00",
        "good": "#237b4b",
        "accent": "#5b5fc7",
        "ground": "#ffffff",
        "emphasis": "#f0f0f0",
        "attention ground": "#fcf4f6",
        "warning ground": "#fbf6d9",
        "good ground": "#e7f2da",
        "accent ground": "#e8ebfa",
    },
    DARK: {
        "page": "#141414",
        "default": "#ffffff",
        "subtle": "#adadad",
        "attention": "#f9526b",
        "warning": "#fbd36d",
        "good": "#92c353",
        "accent": "#a6a7dc",
        "ground": "#292929",
        "emphasis": "#1f1f1f",
        "attention ground": "#3e1f25",
        "warning ground": "#463100",
        "good ground": "#1e3a1e",
        "accent ground": "#2f2f4a",
    },
}
"""Teams' own palette, near enough to judge contrast by."""


def host_config(scheme: int) -> dict[str, Any]:
    """The renderer's configuration for a card that looks much as it does in Teams."""
    colours = _COLOURS[scheme]
    foreground = {
        name: {"default": colours[name], "subtle": colours["subtle"] if name == "default" else colours[name]}
        for name in ("default", "attention", "warning", "good", "accent")
    }
    grounds = {
        "default": "ground",
        "emphasis": "emphasis",
        **{name: f"{name} ground" for name in ("attention", "warning", "good", "accent")},
    }
    return {
        "fontFamily": '"Segoe UI", system-ui, sans-serif',
        "supportsInteractivity": True,
        "fontSizes": {"small": 12, "default": 14, "medium": 16, "large": 18, "extraLarge": 24},
        "spacing": {
            "small": 4, "default": 8, "medium": 12, "large": 16, "extraLarge": 20, "padding": 16
        },
        "containerStyles": {
            style: {"backgroundColor": colours[ground], "foregroundColors": foreground}
            for style, ground in grounds.items()
        },
        "actions": {"actionsOrientation": "horizontal", "actionAlignment": "left", "maxActions": 6},
    }  # fmt: skip


def card_page(card: Mapping[str, Any], scheme: int, width: int, renderer: str) -> str:
    """A page of *width* pixels that draws *card* with the official *renderer*, a script.

    It puts its height into its title, for :meth:`Browser.height`.
    Markdown is drawn as Teams draws it: bold, lists and links; inline code stays as written. Words that are longer
    than a line are broken, as the text views of phones do.
    """
    colours = _COLOURS[scheme]
    # The card holds hostile text: inside a script element only "<" could end it.
    data = json.dumps({"card": card, "config": host_config(scheme)}).replace("<", "\\u003c")
    return f"""<!DOCTYPE html><html><head><meta charset="utf-8"><style>
*{{box-sizing:border-box}}
body{{margin:0;padding:10px;width:{width}px;overflow-wrap:anywhere;font-family:"Segoe UI",system-ui,sans-serif;
 background:{colours["page"]};color:{colours["default"]}}}
#card{{border-radius:6px;overflow:hidden;box-shadow:0 0 2px #0006;background:{colours["ground"]}}}
.ac-pushButton{{font:inherit;font-size:14px;padding:5px 12px;border:1px solid #8886;border-radius:4px;
 background:none;color:inherit}}
.ac-actionSet{{flex-wrap:wrap;gap:8px}} .ac-actionSet>div[aria-hidden]{{display:none}}
p,ul,ol{{margin:0}} ul,ol{{padding-left:20px}} a{{color:{colours["accent"]}}}
</style></head><body><div id="card"></div><script>{renderer}</script><script>
const {{card, config}} = {data};
const escape = text => text.replace(/[&<>"]/g, c => ({{"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"}}[c]));
AdaptiveCards.AdaptiveCard.onProcessMarkdown = (text, result) => {{
  const inline = t => escape(t).replace(/\\*\\*(.+?)\\*\\*/g, "<b>$1</b>")
    .replace(/\\[([^\\]]+)\\]\\((https:[^)]+)\\)/g, '<a href="$2">$1</a>');
  let html = "", open = "";
  for (const line of text.split(/\\r?\\n/)) {{
    const item = line.match(/^\\s*(?:([-*+])|\\d+[.)])\\s+(.*)$/);
    const list = item ? (item[1] ? "ul" : "ol") : "";
    if (open && open !== list) {{ html += `</${{open}}>`; open = ""; }}
    if (list && !open) {{ html += `<${{list}}>`; open = list; }}
    html += item ? `<li>${{inline(item[2])}}</li>` : line.trim() ? `<p>${{inline(line)}}</p>` : "";
  }}
  result.outputHtml = html + (open ? `</${{open}}>` : "");
  result.didProcess = true;
}};
const drawn = new AdaptiveCards.AdaptiveCard();
drawn.hostConfig = new AdaptiveCards.HostConfig(config);
drawn.parse(card);
document.getElementById("card").appendChild(drawn.render());
document.title = String(Math.ceil(document.body.getBoundingClientRect().height));
</script></body></html>"""


class Browser:
    """Chromium without a window, each time with a profile of its own."""

    def __init__(self, program: str) -> None:
        self._program = program

    def _run(self, page: Path, scheme: int, size: tuple[int, int], *arguments: str) -> str:
        with tempfile.TemporaryDirectory() as profile:
            finished = subprocess.run(  # noqa: S603 - a browser found on the machine, with files written here
                [
                    self._program,
                    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
                    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
                    *("--hide-scrollbars", f"--user-data-dir={profile}"),
                    f"--window-size={size[0]},{size[1]}",
                    f"--blink-settings=preferredColorScheme={scheme}",
                    *arguments,
                    page.as_uri(),
                ],
                capture_output=True,
                text=True,
                check=False,
                timeout=120,
            )
        if finished.returncode:
            raise SystemExit(f"{self._program} failed on {page}: {finished.stderr[-500:]}")
        return finished.stdout

    def height(self, page: Path, width: int) -> int:
        """The height that *page* wrote into its title."""
        found = re.search(r"<title>(\d+)</title>", self._run(page, LIGHT, (width, 1000), "--dump-dom"))
        if not found:
            raise SystemExit(f"{page} was not drawn; open it in a browser and look at the console")
        return int(found[1])

    def picture(self, page: Path, target: Path, scheme: int, size: tuple[int, int]) -> None:
        """Write *page* as the PNG *target* of *size* pixels."""
        self._run(page, scheme, size, f"--screenshot={target}")
        print(f"{target}  {target.stat().st_size / 1000:.0f} kB")


def worst_alert(alerts: "list[Alert]") -> "Alert":
    """The most severe alert, of several the one with the most lines to read first."""
    return max(
        alerts,
        key=lambda alert: (
            alert.severity.rank,
            sum(len(code.focus) for found in alert.evidence for code in found.code),
            alert.event_time,
        ),
    )


def severe_of_story(alerts: "list[Alert]", worst: "Alert") -> "list[Alert]":
    """The alerts of the story of *worst* that are as severe, oldest first."""
    return sorted(
        (alert for alert in alerts if (alert.story, alert.severity) == (worst.story, worst.severity)),
        key=lambda alert: (alert.event_time, alert.id),
    )


def flood(alerts: "list[Alert]") -> "list[Alert]":
    """The *alerts* among what else a busy night brings: another account's runbooks, and the detector's own trouble."""
    from msgspec.structs import replace

    from detectors.model import AlertKind, Severity

    pattern = min(alerts, key=lambda alert: alert.event_time)
    others = [
        replace(
            pattern,
            id=f"{number:02d}{pattern.id[2:]}",
            story="another",
            severity=Severity.MEDIUM if number < 3 else Severity.LOW,
            caller="release-pipeline",
            account="aa-Reporting-Prod",
            title=f"Automation runbook Export-Costs-{number} changed by release-pipeline",
        )
        for number in range(1, 7)
    ]
    health = replace(
        pattern,
        id=f"ff{pattern.id[2:]}",
        kind=AlertKind.HEALTH,
        story="",
        title="A rule has failed three times in a row: Serverless script execution",
    )
    return [*alerts, *others, health]


def terminal_picture(alert: "Alert") -> str:
    """*alert* in the terminal, as SVG without anything to fetch."""
    from rich.console import Console
    from rich.terminal_theme import MONOKAI

    from sandbox.report.terminal import print_alert
    from sandbox.report.view import build

    target = Console(
        file=io.StringIO(), record=True, width=100, force_terminal=True, color_system="truecolor",
        markup=False, emoji=False, highlight=False, legacy_windows=False,
    )  # fmt: skip
    print_alert(target, build(alert))
    picture = target.export_svg(title="make demo", theme=MONOKAI, unique_id="terminal")
    return re.sub(r"@font-face \{.*?\}", "", picture, flags=re.DOTALL)


def find_chromium(given: str | None) -> str:
    """The browser to use."""
    found = next(filter(None, map(shutil.which, [given] if given else PROGRAMS)), None)
    if found is None:
        raise SystemExit("Chromium is not on this machine. Install it, or name it: --chromium PROGRAM")
    return found


async def attack_alerts() -> "list[Alert]":
    """The alerts of the bundled attack, as the detector gives them against the sandbox."""
    from rich.console import Console

    from sandbox.demo import play

    with tempfile.TemporaryDirectory() as folder:
        silent = Console(file=io.StringIO())
        outcome = await play(silent, "setup-then-execute", Path(folder), lambda: datetime.now(UTC))
    if outcome.differences:
        raise SystemExit("The demo does not do what it should; run make demo first: " + "; ".join(outcome.differences))
    return outcome.alerts


def main() -> None:
    """Make the pictures."""
    parser = argparse.ArgumentParser(description="Make the pictures of the documentation.")
    parser.add_argument("--chromium", metavar="PROGRAM", help=f"the browser, if it is none of {', '.join(PROGRAMS)}")
    parser.add_argument("--all", type=Path, metavar="FOLDER", help="also write every size and scheme to FOLDER")
    arguments = parser.parse_args()
    browser = Browser(find_chromium(arguments.chromium))
    if not RENDERER.is_file():
        raise SystemExit(f"{RENDERER} is missing; run make tools first")

    from detectors.delivery.teams import build_card, build_digest
    from sandbox.report.html import render

    alerts = asyncio.run(attack_alerts())
    worst = worst_alert(alerts)
    (HERE / "terminal.svg").write_text(terminal_picture(worst), encoding="utf-8")
    print(HERE / "terminal.svg")
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "page.html"
        page.write_text(
            render([worst], title="Azure Automation alerts", generated_at=worst.created_at), encoding="utf-8"
        )
        browser.picture(page, HERE / "alert-page.png", LIGHT, (900, 1200))
        renderer = RENDERER.read_text(encoding="utf-8")

        def draw(message: Mapping[str, Any], scheme: int, width: int, target: Path, most: int = 10_000) -> None:
            drawn = Path(folder) / "card.html"
            card = message["attachments"][0]["content"]
            drawn.write_text(card_page(card, scheme, width, renderer), encoding="utf-8")
            browser.picture(drawn, target, scheme, (width, min(browser.height(drawn, width), most)))

        schemes = ((LIGHT, "light"), (DARK, "dark"))
        draw(build_card(worst), LIGHT, 480, HERE / "alert-card.png", most=1300)
        story = severe_of_story(alerts, worst)
        single, follow_up = build_card(story[0]), build_card(story[-1])
        digest = build_digest(flood(alerts), possible_repeats=frozenset({worst.id}))
        cards = (("single", single), ("follow-up", follow_up), ("digest", digest))
        for name, message in cards:
            for scheme, shade in schemes:
                draw(message, scheme, PHONE, HERE / f"card-{name}-{shade}.png", most=1300)
        if arguments.all:
            arguments.all.mkdir(parents=True, exist_ok=True)
            for scheme, shade in schemes:
                for width in (PHONE, 1000):
                    browser.picture(page, arguments.all / f"page-{width}-{shade}.png", scheme, (width, 3000))
                    for name, message in cards:
                        draw(message, scheme, width, arguments.all / f"card-{name}-{width}-{shade}.png")


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
