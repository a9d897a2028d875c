"""What tests of pgcurl share."""

from collections.abc import Iterator

import pytest

from tests.pgcurl.streaming_server import StreamingServer, running_server


@pytest.fixture(scope="module")
def server() -> Iterator[StreamingServer]:
    """A server for all tests of a module, over plaintext."""
    with running_server() as server:
        yield server
