"""The story key: which alerts belong together. One function, so that what a story is can change in one place."""

import hashlib
from datetime import UTC, datetime


def story_key(*, caller: str, account_id: str, event_time: datetime) -> str:
    """32 hex characters shared by the alerts of one actor on one automation account on one day (UTC).

    *account_id* identifies the account, or the resource where there is none, in any case.
    """
    day = event_time.astimezone(UTC).date().isoformat()
    parts = (caller.strip().casefold(), account_id.strip("/ ").casefold(), day)
    return hashlib.sha256("\n".join(("story", *parts)).encode("utf-8", "surrogatepass")).hexdigest()[:32]
