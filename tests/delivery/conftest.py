"""Fixtures of the destinations' tests: a receiver over TLS and a poster that trusts it."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from detectors.delivery.http import Poster
from tests.delivery.receiver import Receiver, make_certificate, posting_to, running


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for localhost and its key, made for this run."""
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def receiver(certificate: tuple[Path, Path]) -> Iterator[Receiver]:
    """A receiver over TLS."""
    with running(*certificate) as running_receiver:
        yield running_receiver


@pytest.fixture
async def poster(receiver: Receiver) -> AsyncIterator[Poster]:
    """A poster that trusts the receiver's certificate, its clock stopped at ``EVENT_TIME``."""
    async with posting_to(receiver) as opened:
        yield opened
