"""Which Azure operations a rule's query names: the texts in it that are operation names, never its comments."""

import re
from typing import Final

from detectors.kql.text import tokens_of

AUTOMATION: Final = "Microsoft.Automation/"

# Azure's operations end in one of four words; a resource type in a query, such as a prefix, does not. The first part
# is a provider, which has a dot: the rest of a name, such as "runbooks/draft/write", is no operation by itself.
_OPERATION: Final = re.compile(
    r"[a-z][a-z0-9-]*(?:\.[a-z0-9-]+)+(?:/[a-z0-9_.*-]+)+/(?:write|delete|action|read)", re.IGNORECASE | re.ASCII
)


def operations_of(query: str) -> tuple[str, ...]:
    """The operations that *query* names whole, such as ``Microsoft.Automation/automationAccounts/jobs/write``.

    Once each, whatever the case, spelled as at the first mention and in that order.
    """
    first: dict[str, str] = {}
    for token in tokens_of(query):
        name = token.group().lstrip("hH@").strip("\"'") if token.lastgroup == "string" else ""
        if _OPERATION.fullmatch(name):
            first.setdefault(name.casefold(), name)
    return tuple(first.values())
