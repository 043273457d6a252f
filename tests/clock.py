"""A clock that tests move by hand."""

from datetime import UTC, datetime, timedelta


class Clock:
    """``clock()`` is the time; ``sleep`` moves it, so waiting costs nothing."""

    def __init__(self, start: datetime = datetime(2026, 3, 2, 3, 0, tzinfo=UTC)) -> None:
        self.now = start

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **parts: float) -> None:
        self.now += timedelta(**parts)

    async def sleep(self, seconds: float) -> None:
        self.advance(seconds=seconds)
