import asyncio
import json
import threading
import time
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.mux.webhooks import signature
from tests.integration.web.test_server import READY, SECRET, Site, read, site
from tests.unit.web.webhooks.test_event import FIELDS, JSON, KINDS

T = TypeVar("T")


class Fuzzed:
    """A server in an event loop of its own, for tests that are no coroutines."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._serving = site()
        self.site: Site = self._run(self._serving.__aenter__())

    def close(self) -> None:
        """Stop the server."""
        self._run(self._serving.__aexit__(None, None, None))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    def status(self, body: bytes, header: bytes) -> int:
        """Send a body with a signature header; return the status of the response."""
        request = (
            b"POST /webhooks/mux HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            b"Content-Length: %d\r\nmux-signature: %b\r\n\r\n%b" % (len(body), header, body)
        )
        return read(self._run(self.site.raw(request))).status


@pytest.fixture(scope="module")
def fuzzed() -> Iterator[Fuzzed]:
    """Yield one server for all tests."""
    server = Fuzzed()
    yield server
    server.close()


@settings(deadline=None)
@given(kind=KINDS | st.text(), data=JSON | st.dictionaries(FIELDS, JSON), more=st.booleans())
def test_any_signed_event_has_an_answer(fuzzed: Fuzzed, kind: str, data: Any, more: bool) -> None:
    """Accepted or invalid, and never an internal error."""
    if more and isinstance(data, dict):
        data = {**READY["data"], **data}
    returned = {"type": kind, "data": data}
    body = json.dumps(returned).encode()
    header = signature(SECRET, time.time(), body).encode()
    assert fuzzed.status(body, header) in (200, 400)


@settings(deadline=None)
@given(body=st.binary(max_size=2000))
def test_any_signed_bytes_have_an_answer(fuzzed: Fuzzed, body: bytes) -> None:
    """Bytes that are no event are invalid."""
    assert fuzzed.status(body, signature(SECRET, time.time(), body).encode()) == 400


HEADER_BYTES = st.binary(max_size=300).map(lambda text: bytes(b for b in text if b >= 32))


@settings(deadline=None)
@given(header=HEADER_BYTES, digest=HEADER_BYTES, seconds=st.integers(-400, 400))
def test_nothing_unsigned_is_ever_settled(
    fuzzed: Fuzzed, header: bytes, digest: bytes, seconds: int
) -> None:
    """An event that none of the secrets signed is refused, whatever its header."""
    before = len(fuzzed.site.store.settled)
    body = json.dumps(READY).encode()
    forged = b"t=%d,v1=%b" % (int(time.time()) + seconds, digest)
    assert {fuzzed.status(body, header), fuzzed.status(body, forged)} <= {400, 401}
    assert len(fuzzed.site.store.settled) == before
