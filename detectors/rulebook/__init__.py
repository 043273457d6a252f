"""Rule files to rules. :func:`load` is the way in. The two readings of the format have a module each."""

from detectors.rulebook.book import (
    BUILT_IN,
    ENRICHMENTS,
    STREAM_TABLE,
    TESTS_SUFFIX,
    Rulebook,
    RuleError,
    load,
    load_rule,
    rule_files,
    tests_of,
)

__all__ = [
    "BUILT_IN",
    "ENRICHMENTS",
    "STREAM_TABLE",
    "TESTS_SUFFIX",
    "RuleError",
    "Rulebook",
    "load",
    "load_rule",
    "rule_files",
    "tests_of",
]
