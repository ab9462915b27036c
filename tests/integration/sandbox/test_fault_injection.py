"""Fault injection, over real sockets."""

import socket
import threading
import time
from collections.abc import Iterator

import httpx
import pytest
from aiohttp import web

from sandbox.fault_injection import Fault, Faults, Hit
from sandbox.http_server import Server

BODY = {"data": "0123456789"}


class Target:
    """A server with one handler that counts how often it ran."""

    def __init__(self) -> None:
        self.faults = Faults()
        self.runs: list[str] = []
        self.server = Server(self._app)

    def _app(self) -> web.Application:
        app = web.Application(middlewares=[self.faults.middleware])
        app.router.add_route("*", "/missing", self._missing)
        app.router.add_route("*", "/{path:.*}", self._handle)
        return app

    async def _handle(self, request: web.Request) -> web.Response:
        self.runs.append(f"{request.method} {request.path}")
        return web.json_response(BODY)

    async def _missing(self, request: web.Request) -> web.Response:
        self.runs.append(f"{request.method} {request.path}")
        raise web.HTTPNotFound


@pytest.fixture
def target() -> Iterator[Target]:
    """Return a running target."""
    target = Target()
    with target.server:
        yield target


@pytest.fixture
def client(target: Target) -> Iterator[httpx.Client]:
    """Return a client of the target."""
    with httpx.Client(base_url=target.server.url, timeout=60) as client:
        yield client


def test_without_faults_the_handler_answers(client: httpx.Client, target: Target) -> None:
    """Without a fault the middleware changes nothing."""
    assert client.get("/lessons").json() == BODY
    assert target.faults.hits == ()


def test_answer_takes_the_place_of_the_real_reply(client: httpx.Client, target: Target) -> None:
    """Status, body, type and headers are those of the fault, and the handler never runs."""
    fault = Fault("answer", 503, "<h1>no</h1>", "text/html", {"Retry-After": "3"})
    target.faults.add(fault)
    answer = client.get("/lessons")
    headers = (answer.headers["Content-Type"], answer.headers["Retry-After"])
    assert (answer.status_code, answer.text, headers) == (503, "<h1>no</h1>", ("text/html", "3"))
    assert target.runs == []


def test_answer_may_be_bytes_that_are_no_text(client: httpx.Client, target: Target) -> None:
    """A body of bytes arrives as it is."""
    target.faults.add(Fault("answer", 200, b"\xff\xfe\x00"))
    assert client.get("/lessons").content == b"\xff\xfe\x00"


def test_an_answer_can_be_late(client: httpx.Client, target: Target) -> None:
    """The delay passes before the answer."""
    target.faults.add(Fault("answer", 200, delay_seconds=0.2))
    began = time.monotonic()
    client.get("/lessons")
    assert time.monotonic() - began >= 0.2


def test_hang_never_answers(client: httpx.Client, target: Target) -> None:
    """The client waits until its own timeout, and the handler never runs."""
    target.faults.add(Fault("hang"))
    with pytest.raises(httpx.ReadTimeout):
        client.get("/lessons", timeout=httpx.Timeout(60, read=0.2))
    assert target.runs == []


def test_reset_breaks_the_connection_before_the_handler(
    client: httpx.Client, target: Target
) -> None:
    """The client sees a real reset, not an end of file, and the handler never runs."""
    target.faults.add(Fault("reset"))
    with pytest.raises(httpx.ReadError, match="reset by peer"):
        client.post("/lessons", json={})
    assert target.runs == []


def test_drop_reply_breaks_the_connection_after_the_handler(
    client: httpx.Client, target: Target
) -> None:
    """The work is done, also where it ends in an error, and its reply is lost to a reset."""
    target.faults.add(Fault("drop_reply"))
    for path in ("/lessons", "/missing"):
        with pytest.raises(httpx.ReadError, match="reset by peer"):
            client.post(path, json={})
    assert target.runs == ["POST /lessons", "POST /missing"]


def test_something_can_be_done_just_before_a_reset(client: httpx.Client, target: Target) -> None:
    """In the handler's place, or when it has run: what kills the client there kills it then."""
    runs: list[list[str]] = []
    for kind in ("reset", "drop_reply"):
        fault = Fault(kind, before_reset=lambda: runs.append(list(target.runs)))
        target.faults.add(fault, times=1)
        with pytest.raises(httpx.ReadError, match="reset by peer"):
            client.post("/lessons", json={})
    assert runs == [[], ["POST /lessons"]]


def test_a_reset_is_a_reset_on_the_wire(target: Target) -> None:
    """A bare socket reads ECONNRESET, so no HTTP client is needed to see the difference."""
    target.faults.add(Fault("reset"))
    with socket.create_connection(("127.0.0.1", target.server.port), timeout=60) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            connection.recv(1)


def test_delay_only_takes_time(client: httpx.Client, target: Target) -> None:
    """The request is handled and answered as ever, no sooner than after the delay."""
    target.faults.add(Fault("delay", delay_seconds=0.1))
    began = time.monotonic()
    assert client.post("/lessons", json={}).json() == BODY
    assert time.monotonic() - began >= 0.1
    assert target.runs == ["POST /lessons"]


def test_truncate_cuts_the_real_reply_in_the_middle(client: httpx.Client, target: Target) -> None:
    """The headers promise the whole body, half of it arrives, and the handler did its work."""
    target.faults.add(Fault("truncate"))
    whole = b'{"data": "0123456789"}'
    with client.stream("GET", "/lessons") as answer:
        chunks = answer.iter_raw()
        received = next(chunks)
        with pytest.raises(httpx.RemoteProtocolError, match="without sending complete"):
            next(chunks)
    assert answer.headers["Content-Length"] == str(len(whole))
    assert (answer.status_code, received) == (200, whole[: len(whole) // 2])
    assert target.runs == ["GET /lessons"]


def test_trickle_sends_headers_and_then_a_byte_at_a_time(
    client: httpx.Client, target: Target
) -> None:
    """The body is sent byte by byte, and again after its end."""
    target.faults.add(Fault("trickle", 200, "ab"))
    with client.stream("GET", "/lessons") as answer:
        chunks = answer.iter_raw()
        received = next(chunks)
        while len(received) < 5:
            received += next(chunks)
    assert (answer.status_code, received[:5]) == (200, b"ababa")


def test_a_fault_is_used_up(client: httpx.Client, target: Target) -> None:
    """A fault applies `times` times, then the next fault applies, then none."""
    target.faults.add(Fault("answer", 500), times=2)
    target.faults.add(Fault("answer", 429), times=1)
    statuses = [client.get("/lessons").status_code for _ in range(4)]
    assert statuses == [500, 500, 429, 200]


def test_a_fault_applies_only_to_matching_requests(client: httpx.Client, target: Target) -> None:
    """Method, path and `match` limit a fault; the hits record where it applied."""
    fault = Fault("answer", 500)
    target.faults.add(
        fault, method="post", path="/rest/*", match=lambda request: "bad" in request.query
    )
    asked = [
        ("GET", "/rest/x?bad=1"),
        ("POST", "/x?bad=1"),
        ("POST", "/rest/x"),
        ("POST", "/rest/x?bad=1"),
    ]
    assert [client.request(*one).status_code for one in asked] == [200, 200, 200, 500]
    assert target.faults.hits == (Hit("POST", "/rest/x", "answer"),)


def test_clear_takes_faults_away_and_keeps_the_hits(client: httpx.Client, target: Target) -> None:
    """After clear the handler answers; what was hit is still known."""
    target.faults.add(Fault("answer", 500))
    before = client.get("/lessons").status_code
    target.faults.clear()
    assert (before, client.get("/lessons").status_code) == (500, 200)
    assert target.faults.hits == (Hit("GET", "/lessons", "answer"),)


def test_hits_can_be_waited_for(client: httpx.Client, target: Target) -> None:
    """A test can wait for a hit without sleeping; it times out if there is none."""
    target.faults.add(Fault("hang"))
    with pytest.raises(TimeoutError, match="0 of 1 faults"):
        target.faults.wait_for_hits(1, timeout_seconds=0.01)

    def ask() -> None:
        with pytest.raises(httpx.TransportError):
            client.get("/lessons")

    asking = threading.Thread(target=ask)
    asking.start()
    target.faults.wait_for_hits(1)
    target.server.stop()
    asking.join(60)
    assert (asking.is_alive(), target.faults.hits) == (False, (Hit("GET", "/lessons", "hang"),))
