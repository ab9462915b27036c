"""What the endpoint answers and logs, without a server around it."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from aiohttp import web
from pytest_mock import MockerFixture
from structlog.testing import capture_logs

from sandbox.mux.webhooks import signature
from worker.errors import SupabaseUnavailable
from worker.telemetry.hooks import Telemetry
from worker.telemetry.logs import LogThrottle
from worker.web.webhooks.event import Event
from worker.web.webhooks.handler import LARGE_BODY_BYTES, MAX_LARGE_BODIES, WebhookHandler
from worker.web.webhooks.ingest import EventIngest

NOW = 1_790_000_000.0
ASSET = {"id": "as1", "upload_id": "up1", "status": "ready"}
Json = dict[str, Any]


def event(kind: str = "video.asset.ready", **more: Any) -> bytes:
    """Return the body of an event."""
    body = {"type": kind, "id": "e1", "data": ASSET, "environment": {"id": "env1"}}
    return json.dumps({**body, **more}).encode()


@dataclass
class FakeIngest:
    """Keeps what it is given; it fails, or waits, as the test sets it."""

    settled: list[str] = field(default_factory=list)
    marked: list[str | None] = field(default_factory=list)
    fault: Exception | None = None
    may_settle: asyncio.Event = field(default_factory=asyncio.Event)
    may_mark: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.may_settle.set()
        self.may_mark.set()

    async def settle(self, events: Sequence[Event]) -> list[Event]:
        """Settle events."""
        await self.may_settle.wait()
        if self.fault is not None:
            raise self.fault
        self.settled += [event.type for event in events]
        return []

    async def mark_webhooks_active(self, environment_id: str | None) -> None:
        """Record that webhooks arrive."""
        self.marked.append(environment_id)
        await self.may_mark.wait()


class Results(Telemetry):
    """Keeps the results that are counted."""

    def __init__(self) -> None:
        super().__init__()
        self.counted: list[str] = []

    def webhook_answered(self, result: str) -> None:
        """Keep a result."""
        self.counted.append(result)


class Request:
    """What the handler needs of a request."""

    client_max_size = 1_000_000

    def __init__(
        self,
        body: bytes,
        *,
        secret: str = "new",
        size: int | None = -1,
        fault: Exception | None = None,
        header: str | None = "",
        may_read: asyncio.Event | None = None,
    ) -> None:
        signed = signature(secret, NOW, body) if header == "" else header
        self.headers = {} if signed is None else {"mux-signature": signed}
        self.content_length = len(body) if size == -1 else size
        self._body, self._fault, self._may_read = body, fault, may_read
        self.is_read = False

    async def read(self) -> bytes:
        """Return the body."""
        self.is_read = True
        if self._may_read is not None:
            await self._may_read.wait()
        if self._fault is not None:
            raise self._fault
        return self._body


class Endpoint:
    """A handler with its fakes."""

    def __init__(self) -> None:
        self.ingest, self.results = FakeIngest(), Results()
        self._handler = WebhookHandler(
            ["old", "new"], cast(EventIngest, self.ingest), self.results, lambda: NOW
        )

    async def answer(self, request: Request) -> tuple[int, str, bool]:
        """Return the status and the text of the response, and whether the connection stays."""
        response = await self._handler.handle(cast(web.Request, request))
        await asyncio.sleep(0)
        return response.status, str(response.text), response.keep_alive is not False


@pytest.fixture
def endpoint() -> Endpoint:
    """Return an endpoint with two secrets."""
    return Endpoint()


@pytest.mark.parametrize("secret", ["old", "new"])
async def test_a_signed_event_is_settled_and_accepted(endpoint: Endpoint, secret: str) -> None:
    """With either secret; that webhooks of its environment arrive is recorded."""
    assert await endpoint.answer(Request(event(), secret=secret)) == (200, "accepted\n", True)
    assert endpoint.ingest.settled == ["video.asset.ready"]
    assert endpoint.ingest.marked == ["env1"]
    assert endpoint.results.counted == ["accepted"]


@pytest.mark.parametrize(
    ("kind", "marked"), [("video.asset.track.ready", ["env1"]), ("video.live_stream.idle", [])]
)
async def test_an_event_that_changes_nothing_is_ignored(
    endpoint: Endpoint, kind: str, marked: list[str]
) -> None:
    """One about a video shows that webhooks arrive all the same."""
    assert await endpoint.answer(Request(event(kind))) == (200, "ignored\n", True)
    assert (endpoint.ingest.settled, endpoint.ingest.marked) == ([], marked)
    assert endpoint.results.counted == ["ignored"]


async def test_that_webhooks_arrive_is_recorded_by_one_call_at_a_time(endpoint: Endpoint) -> None:
    """Events that come meanwhile start no other one; after it, the next event does."""
    endpoint.ingest.may_mark.clear()
    for _ in range(3):
        await endpoint.answer(Request(event()))
    assert endpoint.ingest.marked == ["env1"]
    endpoint.ingest.may_mark.set()
    await asyncio.sleep(0)
    await endpoint.answer(Request(event(environment={"id": "env2"})))
    assert endpoint.ingest.marked == ["env1", "env2"]


@pytest.mark.parametrize(
    ("request_", "answer", "reason", "message"),
    [
        (
            Request(event(), header=None), (401, "unsigned\n", True),
            "missing", "The request has no signature.",
        ),
        (
            Request(event(), header="nonsense"), (401, "unsigned\n", True),
            "malformed", "The signature is not in Mux's format.",
        ),
        (
            Request(event(), header=signature("new", NOW - 301, event())),
            (401, "unsigned\n", True), "stale",
            "The signature is more than 300 s old or in the future. Check this machine's clock.",
        ),
        (
            Request(event(), secret="other"), (401, "unsigned\n", True), "wrong",
            "The signature does not match. Compare MUX_WEBHOOK_SECRET with the secret in Mux.",
        ),
        (
            Request(b"x"), (400, "invalid\n", False),
            "no_event", "The signed body is not valid: it is not JSON.",
        ),
        (
            Request(b"{}"), (400, "invalid\n", False),
            "no_event", "The signed body is not valid: it is not an object with a type.",
        ),
        (
            Request(b'{"type": "video.asset.ready"}'), (400, "invalid\n", False),
            "no_event", "The signed body is not valid: its data is not that of video.asset.",
        ),
        (
            Request(event(), size=1_000_001), (413, "too_large\n", False),
            "too_large", "The body is over 1 MB.",
        ),
        (
            Request(event(), size=None, fault=web.HTTPRequestEntityTooLarge(1, 2)),
            (413, "too_large\n", False), "too_large", "The body is over 1 MB.",
        ),
        (
            Request(event(), fault=web.RequestPayloadError()), (400, "invalid\n", False),
            "unreadable", "The body cannot be read.",
        ),
        (
            Request(event(), fault=ConnectionResetError()), (400, "invalid\n", False),
            "unreadable", "The body cannot be read.",
        ),
    ],
)  # fmt: skip
async def test_a_request_that_is_rejected_has_its_status_and_a_line(
    endpoint: Endpoint, request_: Request, answer: tuple[int, str, bool], reason: str, message: str
) -> None:
    """Nothing is settled, and only after a body was read the connection can stay."""
    with capture_logs() as logged:
        assert await endpoint.answer(request_) == answer
    assert (endpoint.ingest.settled, endpoint.ingest.marked) == ([], [])
    assert endpoint.results.counted == [answer[1].strip()]
    assert logged == [
        {"event": "webhook.rejected", "log_level": "warning", "reason": reason,
         "message": message, "times": 1},
    ]  # fmt: skip


async def test_without_a_good_header_a_body_is_not_read(endpoint: Endpoint) -> None:
    """Nor is one that says that it is too large; one of just a megabyte is."""
    too_large = Request(event(), size=1_000_001)
    unsigned, largest = Request(event(), header="x"), Request(event(), size=1_000_000)
    for request in (too_large, unsigned, largest):
        await endpoint.answer(request)
    assert [r.is_read for r in (too_large, unsigned, largest)] == [False, False, True]


async def test_an_event_that_could_not_be_settled_has_to_be_sent_again(endpoint: Endpoint) -> None:
    """With the database's reason and sentence in the log, once in ten minutes."""
    endpoint.ingest.fault = SupabaseUnavailable("connection", "Supabase is down.")
    with capture_logs() as logged:
        answers = [await endpoint.answer(Request(event())) for _ in range(2)]
    assert answers == [(503, "unavailable\n", False)] * 2
    assert endpoint.results.counted == ["unavailable"] * 2
    assert endpoint.ingest.marked == []
    assert logged == [
        {"event": "webhook.rejected", "log_level": "warning", "reason": "connection",
         "message": "Supabase is down.", "times": 1},
    ]  # fmt: skip


async def test_mux_is_answered_before_it_gives_up(
    endpoint: Endpoint, mocker: MockerFixture
) -> None:
    """Whatever hangs: here it is the body."""
    mocker.patch("worker.web.webhooks.handler.DEADLINE_SECONDS", 0.001)
    with capture_logs() as logged:
        answer = await endpoint.answer(Request(event(), may_read=asyncio.Event()))
    assert answer == (503, "unavailable\n", False)
    assert [(line["reason"], line["message"]) for line in logged] == [
        ("timeout", "The event was not settled in time.")
    ]


async def test_more_events_than_can_be_handled_are_sent_away(
    endpoint: Endpoint, mocker: MockerFixture
) -> None:
    """One more than are allowed at once; when the others are answered, the next is accepted."""
    mocker.patch("worker.web.webhooks.handler.MAX_CONCURRENT", 2)
    for _ in range(2):
        endpoint.ingest.may_settle.clear()
        first = [asyncio.create_task(endpoint.answer(Request(event()))) for _ in range(2)]
        await asyncio.sleep(0)
        assert await endpoint.answer(Request(event())) == (503, "unavailable\n", False)
        endpoint.ingest.may_settle.set()
        assert {status for status, _, _ in await asyncio.gather(*first)} == {200}


async def test_that_there_were_too_many_events_is_logged(
    endpoint: Endpoint, mocker: MockerFixture
) -> None:
    """With how many may come at once."""
    mocker.patch("worker.web.webhooks.handler.MAX_CONCURRENT", 0)
    with capture_logs() as logged:
        await endpoint.answer(Request(event()))
    assert [(line["reason"], line["message"]) for line in logged] == [
        ("overloaded", "More than 0 events arrived at once.")
    ]


async def test_a_database_that_hangs_is_cut_off(mocker: MockerFixture) -> None:
    """Before Mux gives up."""
    mocker.patch("worker.web.webhooks.handler.SETTLE_TIMEOUT_SECONDS", 0.001)
    endpoint = Endpoint()
    endpoint.ingest.may_settle.clear()
    with capture_logs() as logged:
        assert (await endpoint.answer(Request(event())))[0] == 503
    assert [line["message"] for line in logged] == ["Supabase did not settle the events in time."]


@pytest.mark.parametrize("size", [LARGE_BODY_BYTES + 1, None])
async def test_few_large_bodies_are_read_at_a_time(endpoint: Endpoint, size: int | None) -> None:
    """Also where their size is not given; small ones are read meanwhile."""
    may_read = asyncio.Event()
    large = [Request(event(), size=size, may_read=may_read) for _ in range(MAX_LARGE_BODIES + 1)]
    answers = [asyncio.create_task(endpoint.answer(request)) for request in large]
    for _ in range(5):
        await asyncio.sleep(0)
    assert (await endpoint.answer(Request(event(), size=LARGE_BODY_BYTES)))[0] == 200
    assert [request.is_read for request in large] == [True] * MAX_LARGE_BODIES + [False]
    may_read.set()
    assert {status for status, _, _ in await asyncio.gather(*answers)} == {200}


@pytest.fixture
def now(mocker: MockerFixture) -> list[float]:
    """Return the time of the throttles, which the test moves."""
    time = [0.0]

    def throttle(seconds: float) -> LogThrottle:
        return LogThrottle(seconds, lambda: time[0])

    mocker.patch("worker.web.webhooks.handler.LogThrottle", throttle)
    return time


async def test_accepted_events_are_counted_in_a_line_a_minute(now: list[float]) -> None:
    """All of them, and those of them that were ignored, since the line before."""
    endpoint = Endpoint()
    with capture_logs() as logged:
        for now[0], kind in (
            (0, "video.asset.ready"), (1, "video.x.ready"), (2, "video.x.ready"),
            (59.9, "video.asset.ready"), (60, "video.asset.ready"), (121, "video.x.ready"),
        ):  # fmt: skip
            await endpoint.answer(Request(event(kind)))
    lines = [line for line in logged if line["event"] == "webhook.accepted"]
    info: Json = {"event": "webhook.accepted", "log_level": "info"}
    assert lines == [
        {**info, "events": 1, "ignored": 0},
        {**info, "events": 4, "ignored": 2},
        {**info, "events": 1, "ignored": 1},
    ]


async def test_rejected_requests_are_counted_in_a_line_every_ten_minutes(now: list[float]) -> None:
    """For each reason; the first at once."""
    endpoint = Endpoint()
    with capture_logs() as logged:
        for now[0], secret in ((0, "x"), (1, "x"), (599.9, "x"), (600, "x"), (601, "x")):
            await endpoint.answer(Request(event(), secret=secret))
        await endpoint.answer(Request(event(), header=None))
    assert [(line["reason"], line["times"]) for line in logged] == [
        ("wrong", 1), ("wrong", 3), ("missing", 1),
    ]  # fmt: skip


async def test_each_event_is_a_line_at_debug_level(endpoint: Endpoint) -> None:
    """With its type and its id, as far as these are of a sensible length."""
    kind, name = "video.asset." + "x" * 100, "e" * 100
    with capture_logs() as logged:
        await endpoint.answer(Request(event(kind, id=name)))
    assert logged[0] == {
        "event": "webhook.received", "log_level": "debug", "type": kind[:80], "id": name[:80],
    }  # fmt: skip
