"""What counts as an operation that a query names."""

import pytest

from detectors.rulebook.operations import operations_of

JOBS = "Microsoft.Automation/automationAccounts/jobs/write"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (f'T | where A =~ "{JOBS}"', (JOBS,)),
        (f"T | where A =~ '{JOBS}'", (JOBS,)),
        (f'T | where A =~ @"{JOBS}"', (JOBS,)),
        ('T | where A =~ "Microsoft.Automation/register/action"', ("Microsoft.Automation/register/action",)),
        (f'T | where A in~ ("{JOBS}", "{JOBS.upper()}")', (JOBS,)),
        ('T | where A =~ "microsoft.web/sites/functions/write"', ("microsoft.web/sites/functions/write",)),
        (
            'T | where A =~ "Microsoft.Web/sites/hostruntime/vfs/run.csx/write"',
            ("Microsoft.Web/sites/hostruntime/vfs/run.csx/write",),
        ),
        # A rest, as the catch-all compares it, a prefix, and an operation of which the text is only a part.
        ('T | where A !in~ ("runbooks/draft/write", "write")', ()),
        ('T | where A startswith "Microsoft.Automation/automationAccounts/"', ()),
        (f'T | extend B = "the operation {JOBS}"', ()),
        (f'// "{JOBS}"\nT', ()),
        ('T | extend B = "http://contoso.com/a/write"', ()),
        ("", ()),
    ],
)
def test_whole_names_of_operations_in_texts_count_and_nothing_else(query: str, expected: tuple[str, ...]) -> None:
    assert operations_of(query) == expected


def test_operations_come_in_order_of_first_mention() -> None:
    query = f'T | where A in ("A.B/c/delete", "{JOBS}") and B =~ "a.b/C/delete"'
    assert operations_of(query) == ("A.B/c/delete", JOBS)
