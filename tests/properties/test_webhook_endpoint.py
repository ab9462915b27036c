"""Whatever is sent to the webhook endpoint, it answers as documented; only signed events count."""

import asyncio
import json
import threading
import time
from collections.abc import Coroutine, Iterator, Sequence
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.mux.webhooks import signature
from tests.integration.web.test_server import READY, SECRET, Answer, Site, read, site
from tests.unit.web.webhooks.test_event import FIELDS, JSON, KINDS
from worker.errors import SupabaseNeedsOperator, SupabaseUnavailable, Unavailable
from worker.web.app import MAX_BODY_BYTES

T = TypeVar("T")
Header = tuple[bytes, bytes]

REASONS = {
    200: {"accepted", "ignored"},
    400: {"invalid", "bad request"},
    401: {"unsigned"},
    413: {"too_large"},
    417: {"Unknown Expect"},
    503: {"unavailable"},
}
"""What each status says in its body."""


class Endpoint:
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

    def send(self, body: bytes, signed: bytes, *headers: Header) -> Answer:
        """Send a body with a signature header and others; return the response."""
        length = (b"Content-Length", b"%d" % len(body))
        return self.send_as_is([(b"mux-signature", signed), length, *headers], body)

    def send_as_is(self, headers: Sequence[Header], body: bytes) -> Answer:
        """Send headers and a body, which may not go together; return the response."""
        head = [b"POST /webhooks/mux HTTP/1.1", b"Host: x", b"Connection: close"]
        head += [b"%b: %b" % header for header in headers]
        answer = read(self._run(self.site.raw(b"\r\n".join([*head, b"", b""]) + body)))
        assert answer.body.partition(":")[0].strip() in REASONS[answer.status]
        return answer

    @property
    def calls(self) -> int:
        """Return how often the database was asked to settle something."""
        return len(self.site.store.settled)


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Endpoint]:
    """Yield one server for all tests."""
    server = Endpoint()
    yield server
    server.close()


def sign(body: bytes, seconds: float = 0) -> bytes:
    """Return the signature header of a body that Mux sent some seconds ago."""
    return signature(SECRET, time.time() - seconds, body).encode()


ready = json.dumps(READY).encode()
header_bytes = st.binary(max_size=300).map(lambda text: bytes(b for b in text if b >= 32))
names = st.from_regex(rb"X-[A-Za-z0-9-]{1,20}", fullmatch=True)
more_headers = st.lists(
    st.tuples(names, header_bytes)
    | st.tuples(
        st.sampled_from([b"Content-Type", b"Content-Encoding", b"Accept", b"Cookie", b"Expect"]),
        st.sampled_from([b"application/json", b"text/html", b"gzip", b"multipart/form-data", b"?"])
        | header_bytes,
    ),
    max_size=5,
)


@given(kind=KINDS | st.text(), data=JSON | st.dictionaries(FIELDS, JSON), more=st.booleans())
def test_any_signed_event_has_an_answer(
    endpoint: Endpoint, kind: str, data: Any, more: bool
) -> None:
    """Accepted or invalid, and never an internal error."""
    if more and isinstance(data, dict):
        data = {**READY["data"], **data}
    body = json.dumps({"type": kind, "data": data}).encode()
    assert endpoint.send(body, sign(body)).status in (200, 400)


@given(body=st.binary(max_size=2000))
def test_any_signed_bytes_have_an_answer(endpoint: Endpoint, body: bytes) -> None:
    """Bytes that are no event are invalid."""
    assert endpoint.send(body, sign(body)).status == 400


@given(headers=more_headers)
def test_a_signed_event_is_accepted_whatever_else_is_sent(
    endpoint: Endpoint, headers: list[Header]
) -> None:
    """Other headers, with any content type or encoding, change nothing, or the request is bad."""
    answer = endpoint.send(ready, sign(ready), *headers)
    assert answer.status in (200, 400, 417)
    if not any(name == b"Expect" for name, _ in headers):
        assert answer.body == ("accepted\n" if answer.status == 200 else "bad request\n")


@given(header=header_bytes, digest=header_bytes, seconds=st.integers(-400, 400))
def test_nothing_unsigned_is_ever_settled(
    endpoint: Endpoint, header: bytes, digest: bytes, seconds: int
) -> None:
    """An event that none of the secrets signed is refused, whatever its header."""
    before = endpoint.calls
    forged = b"t=%d,v1=%b" % (int(time.time()) + seconds, digest)
    assert {endpoint.send(ready, header).status, endpoint.send(ready, forged).status} <= {400, 401}
    assert endpoint.calls == before


@given(place=st.integers(0, len(ready) - 1), change=st.integers(1, 255))
def test_a_body_that_was_changed_is_not_settled(
    endpoint: Endpoint, place: int, change: int
) -> None:
    """A single bit is enough."""
    before = endpoint.calls
    changed = ready[:place] + bytes([ready[place] ^ change]) + ready[place + 1 :]
    assert endpoint.send(changed, sign(ready)).status == 401
    assert endpoint.calls == before


@given(seconds=st.integers(-(10**6), 10**6), part=st.integers(0, 96))
def test_a_signature_of_another_time_or_cut_off_is_not_accepted(
    endpoint: Endpoint, seconds: int, part: int
) -> None:
    """It holds for five minutes either way, and only whole."""
    before = endpoint.calls
    whole = sign(ready, seconds)
    if abs(seconds) > 310:
        assert endpoint.send(ready, whole).status == 401
    if part < len(whole):
        assert endpoint.send(ready, whole[:part]).status == 401
    assert endpoint.calls == before


@settings(max_examples=max(5, settings().max_examples // 50))  # some connections linger a second
@given(
    size=st.integers(0, MAX_BODY_BYTES * 4) | st.integers(0, 10**20),
    sent=st.integers(0, len(ready) - 1),
    signed=st.booleans(),
)
def test_a_body_of_another_size_than_announced_is_not_settled(
    endpoint: Endpoint, size: int, sent: int, signed: bool
) -> None:
    """What is too large is refused at once, and what is cut off is never taken for whole."""
    before = endpoint.calls
    body = ready[:sent]
    header = sign(body) if signed else b"t=1,v1=0"
    if signed and sent < size <= MAX_BODY_BYTES:
        return  # the server waits for the rest, up to its deadline
    announced = (b"Content-Length", b"%d" % size)
    answer = endpoint.send_as_is([(b"mux-signature", header), announced], body)
    assert answer.status in ((400, 401, 413) if size > MAX_BODY_BYTES else (400, 401))
    assert endpoint.calls == before


@settings(max_examples=max(5, settings().max_examples // 20))
@given(
    size=st.integers(0, MAX_BODY_BYTES * 2) | st.integers(MAX_BODY_BYTES - 2, MAX_BODY_BYTES + 2),
    is_chunked=st.booleans(),
)
def test_a_body_of_any_size_is_invalid_or_too_large(
    endpoint: Endpoint, size: int, is_chunked: bool
) -> None:
    """Up to a megabyte it is read, also in chunks."""
    body = b" " * size
    if is_chunked:
        headers = [(b"mux-signature", sign(body)), (b"Transfer-Encoding", b"chunked")]
        chunks = b"%x\r\n%b\r\n" % (size, body) if size else b""
        answer = endpoint.send_as_is(headers, chunks + b"0\r\n\r\n")
    else:
        answer = endpoint.send(body, sign(body))
    assert answer.status == (400 if size <= MAX_BODY_BYTES else 413)


@given(
    fault=st.sampled_from([SupabaseUnavailable, SupabaseNeedsOperator]),
    reason=st.text(),
    kind=KINDS,
)
def test_while_the_database_does_not_settle_mux_sends_again(
    endpoint: Endpoint, fault: type[Unavailable], reason: str, kind: str
) -> None:
    """Each event that says something is answered 503, each other one as ever."""
    body = json.dumps({**READY, "type": kind}).encode()
    endpoint.site.store.fault = fault(reason, "Supabase is down.")
    try:
        answer = endpoint.send(body, sign(body))
    finally:
        endpoint.site.store.fault = None
    assert answer.body == ("ignored\n" if kind == "video.upload.created" else "unavailable\n")
