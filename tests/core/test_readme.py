"""What README says is what the code does."""

import re
from pathlib import Path

from detectors.settings import describe

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def settings_table() -> str:
    """The settings as README shows them."""
    lines = ["| setting | default | what it is |", "|---|---|---|"]
    for setting in describe():
        default = "**required**" if setting.required else f"`{setting.default}`" if setting.default else ""
        secret = " (secret: a Key Vault reference)" if setting.secret else ""
        lines.append(f"| `{setting.name}` | {default} | {setting.description}{secret} |")
    return "\n".join(lines)


def test_the_settings_table_is_the_settings() -> None:
    assert settings_table() in README, f"put this table into README.md:\n{settings_table()}"


def test_every_make_target_that_readme_names_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:^    |`)make ([a-z]+)", README, re.MULTILINE))
    assert {"demo", "test"} <= named
    assert named <= targets


def test_every_file_that_readme_links_exists() -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).exists(), target
