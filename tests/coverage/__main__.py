"""``make coverage``: write docs/coverage.md from the built-in rules and docs/coverage/*.yaml.

The exit status is 1, and nothing is written, when a rule does not load.
"""

import sys
from pathlib import Path
from typing import Final

from detectors import rulebook
from tests.coverage.data import read_operations, read_peers
from tests.coverage.page import our_rules, page, uncovered

PAGE: Final = Path(__file__).parents[2] / "docs" / "coverage.md"


def current() -> str:
    """The page as it should be. Raises :class:`detectors.rulebook.RuleError` when a rule does not load."""
    book = rulebook.load(check_query=False)
    if book.problems:
        raise rulebook.RuleError(list(book.problems))
    return page(our_rules(book.rules), read_operations(), read_peers())


def main() -> int:
    """The exit status."""
    try:
        text = current()
    except (rulebook.RuleError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    PAGE.write_text(text, encoding="utf-8")
    operations = read_operations().listed
    missing = uncovered(our_rules(rulebook.load(check_query=False).rules), operations)
    sys.stdout.write(f"docs/coverage.md: {len(operations) - len(missing)} of {len(operations)} operations covered\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
