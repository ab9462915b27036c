import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
from aiohttp import web
from pytest_mock import MockerFixture
from structlog.testing import capture_logs

from sandbox.mux.webhooks import signature
from worker.errors import SchemaOutdated, SupabaseUnavailable, Unavailable
from worker.model import Outcome, Settlement
from worker.settings import Settings
from worker.telemetry.hooks import Telemetry
from worker.telemetry.liveness import Liveness
from worker.telemetry.outcome_log import OutcomeLog
from worker.telemetry.scan_history import OutageState, ScanHistory, Service
from worker.web.app import http_server
from worker.web.connections import connection_limit

SECRET = "the-webhook-secret"
READY: dict[str, Any] = {
    "type": "video.asset.ready",
    "id": "e1",
    "created_at": "2026-09-21T14:13:20Z",
    "data": {
        "id": "as1",
        "upload_id": "up1",
        "status": "ready",
        "playback_ids": [{"id": "play1", "policy": "public"}],
    },
}


@dataclass
class FakeStore:
    """Records what is settled; hangs or fails as the test sets it, or has locked failed rows."""

    settled: list[list[Settlement]] = field(default_factory=list)
    locked: set[str | None] = field(default_factory=set)
    notices: int = 0
    fault: Unavailable | None = None
    crash: Exception | None = None
    may_go_on: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.may_go_on.set()

    async def settle(
        self, settlements: Sequence[Settlement], environment_id: str | None
    ) -> list[Outcome]:
        """Publish everything that is not locked."""
        self.settled.append(list(settlements))
        await self._go_on()
        assert environment_id is None
        return [self._outcome(settlement) for settlement in settlements]

    def _outcome(self, settlement: Settlement) -> Outcome:
        upload_id, asset_id = settlement.observation.upload_id, settlement.observation.asset_id
        if upload_id not in self.locked:
            return Outcome("published", None, None, upload_id, asset_id, age_seconds=1.0)
        is_deletion = settlement.verdict.action == "mark_deleted"
        reason = "mark_deleted" if is_deletion else "not_scanned"
        return Outcome("busy", None, None, upload_id, asset_id, reason=reason)

    async def note_events(self, environment_id: str | None, *, has_matched: bool) -> str | None:
        """Count the calls; the recorded environment is `home`."""
        self.notices += 1
        return "home"

    async def check_schema(self) -> None:
        """Answer, hang or fail."""
        await self._go_on()

    async def summary(self) -> dict[str, Any]:
        """Count rows."""
        await self._go_on()
        return {"processing": 3, "error": 1, "due": 1, "stuck": 0,
                "oldest_due_seconds": 7.5}  # fmt: skip

    async def call(self, function: str, params: dict[str, Any]) -> Any:
        """Fail: only the dashboard calls this."""
        raise AssertionError(function, params)

    async def _go_on(self) -> None:
        await self.may_go_on.wait()
        if self.crash is not None:
            raise self.crash
        if self.fault is not None:
            raise self.fault


class Answer(NamedTuple):
    """A response."""

    status: int
    head: str
    body: str


@dataclass
class Site:
    """A running server, and its fakes."""

    port: int
    store: FakeStore
    mux: Any
    liveness: Liveness
    outages: dict[Service, OutageState]

    async def raw(self, request: bytes, within: float = 60) -> bytes:
        """Send bytes on a new connection; return all bytes until it is closed."""
        async with asyncio.timeout(within):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            writer.write(request)
            answer = await reader.read()
            writer.close()
            return answer

    async def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> Answer:
        """Send a whole request."""
        lines = [f"{method} {path} HTTP/1.1", "Host: here", "Connection: close"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        return read(await self.raw("\r\n".join([*lines, "", ""]).encode() + body))

    async def event(self, result: Any = None, **changes: Any) -> Answer:
        """Send a signed event."""
        body = json.dumps({**(result or READY), **changes}).encode()
        header = signature(SECRET, time.time(), body)
        return await self.ask("POST", "/webhooks/mux", body, mux_signature=header)


def read(answer: bytes) -> Answer:
    """Parse a response."""
    head, _, body = answer.decode().partition("\r\n\r\n")
    return Answer(int(head.split()[1]), head, body)


@asynccontextmanager
async def site(**more: str) -> AsyncIterator[Site]:
    """Serve on a free port."""
    result: dict[str, Any] = {
        "supabase_url": "http://localhost",
        "supabase_service_role_key": "sb_secret_x",
        "mux_token_id": "id",
        "mux_token_secret": "secret",
        "mux_webhook_secret": f"another,{SECRET}",
        "host": "127.0.0.1",
        "port": 1,
        **more,
    }
    settings = Settings(_env_file=None, **result)
    free = settings.model_copy(update={"port": 0})
    store, mux = FakeStore(), SimpleNamespace(rate_limit=("5", "4"))
    liveness, outages = Liveness(5, 100), dict[Service, OutageState]()
    telemetry, history = Telemetry(OutcomeLog()), ScanHistory(lambda: outages)
    async with http_server(free, telemetry, liveness, mux, store, history) as port:
        yield Site(port, store, mux, liveness, outages)


@pytest.fixture
async def here() -> AsyncIterator[Site]:
    """Yield a server with default settings."""
    async with site() as found:
        yield found


async def test_a_signed_event_is_settled_before_it_is_answered(here: Site) -> None:
    """By the same decision as in a scan; and webhooks are marked active."""
    here.store.may_go_on.clear()
    asking = asyncio.create_task(here.event())
    await until(lambda: here.store.settled)
    assert not asking.done()
    here.store.may_go_on.set()
    answer = await asking
    assert (answer.status, answer.body) == (200, "accepted\n")
    ((settlement,),) = here.store.settled
    assert (settlement.verdict.action, settlement.verdict.playback_id) == ("publish", "play1")
    assert settlement.observation.source == "webhook"
    assert here.store.notices == 1


async def test_a_burst_costs_a_few_calls(here: Site) -> None:
    """Events that arrive during a call go into the next one; a repeated event goes once."""
    here.store.may_go_on.clear()
    asking = [asyncio.create_task(here.event())]
    await until(lambda: here.store.settled)
    for n in range(50):
        data = {**READY["data"], "id": f"as{n // 2}"}
        asking.append(asyncio.create_task(here.event(data=data)))
    await until(lambda: under_way() == 51)
    here.store.may_go_on.set()
    assert {answer.status for answer in await asyncio.gather(*asking)} == {200}
    assert [len(group) for group in here.store.settled] == [1, 25]


def under_way() -> int:
    """Return how many requests the server is handling."""
    names = [getattr(task.get_coro(), "__qualname__", "") for task in asyncio.all_tasks()]
    return names.count("RequestHandler._handle_request")


async def until(condition: Any) -> None:
    """Run the event loop until a condition holds."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110  # the condition has no event to wait for
            await asyncio.sleep(0.01)


async def test_an_irrelevant_event_is_ignored(here: Site) -> None:
    """200; the database only records that webhooks arrive."""
    assert (await here.event(type="video.upload.created")).body == "ignored\n"
    assert (await here.event(type="doctor.test")).body == "ignored\n"
    assert (here.store.settled, here.store.notices) == ([], 1)


@pytest.mark.parametrize(
    ("type_", "data", "verdict"),
    [
        ("video.upload.errored", {"id": "up1", "status": "errored"}, "recheck"),
        ("video.asset.deleted", READY["data"], "mark_deleted"),
    ],
)
async def test_a_failure_and_a_deletion_are_settled_like_any_event(
    here: Site, type_: str, data: dict[str, Any], verdict: str
) -> None:
    """In the same call as others, with a verdict of their own."""
    assert (await here.event(type=type_, data=data)).status == 200
    ((settlement,),) = here.store.settled
    assert (settlement.verdict.action, settlement.observation.upload_id) == (verdict, "up1")


@pytest.mark.parametrize("type_", ["video.asset.deleted", "video.asset.ready"])
async def test_an_event_that_no_scan_would_find_is_sent_again_where_a_row_is_locked(
    here: Site, type_: str
) -> None:
    """503 for a deletion and for a row that has failed; then 200, once the row is free."""
    here.store.locked = {"up1"}
    assert (await here.event(type=type_)).status == 503
    other = {**READY["data"], "id": "as2", "upload_id": "up2"}
    assert (await here.event(type=type_, data=other)).status == 200
    here.store.locked = set()
    assert (await here.event(type=type_)).status == 200


@pytest.mark.parametrize(
    "header",
    [
        None,
        "t=1,v1=" + "a" * 64,
        "nonsense",
        "forged",
    ],
    ids=["none", "another", "nonsense", "of another secret"],
)
async def test_a_request_that_mux_did_not_sign_is_refused(here: Site, header: str | None) -> None:
    """401, whatever is wrong with the signature, and nothing is settled."""
    body = json.dumps(READY).encode()
    if header == "forged":
        header = signature("another secret", time.time(), body)
    headers = {} if header is None else {"mux_signature": header}
    answer = await here.ask("POST", "/webhooks/mux", body, **headers)
    assert (answer.status, answer.body) == (401, "unsigned\n")
    assert (here.store.settled, here.store.notices) == ([], 0)


async def test_ten_bad_signatures_are_one_line(here: Site) -> None:
    """The log names each reason rarely, and never the signature."""
    with capture_logs() as lines:
        for _ in range(10):
            await here.ask("POST", "/webhooks/mux", b"x", mux_signature="t=1,v1=" + "a" * 64)
    assert [(line["event"], line["reason"]) for line in lines] == [("webhook.rejected", "stale")]
    assert "aaaa" not in str(lines)


async def test_a_signed_body_that_is_no_event_is_refused(here: Site) -> None:
    """400: sending it again does not help, and Mux's log shows it."""
    for body in (b"no json", b"{}", b'{"type": "video.asset.ready", "data": 5}'):
        header = signature(SECRET, time.time(), body)
        answer = await here.ask("POST", "/webhooks/mux", body, mux_signature=header)
        assert (answer.status, answer.body) == (400, "invalid\n")


async def test_few_large_bodies_are_read_at_a_time(here: Site, mocker: MockerFixture) -> None:
    """Their signature is known only at the end, and they must not fill the memory."""
    mocker.patch("worker.web.webhooks.handler.DEADLINE_SECONDS", 3.0)
    read = mocker.spy(web.Request, "read")
    header = signature("guessed", time.time(), b"")
    head = f"POST /webhooks/mux HTTP/1.1\r\nHost: x\r\nmux-signature: {header}\r\n"
    begun = f"{head}Content-Length: 1000000\r\n\r\n".encode() + b"x" * 100_000
    async with AsyncExitStack() as stack:
        large = [await silent(here, stack, begun) for _ in range(20)]
        await until(lambda: read.call_count == 4)
        assert (await here.event()).status == 200
        assert read.call_count == 5
        answers = await asyncio.gather(*(ended(reader) for reader in large))
        assert {answer.split()[1] for answer in answers} == {b"503"}
    padded = await here.event(padding="x" * 200_000)
    assert padded.status == 200


async def test_too_large_a_body_is_not_read(here: Site) -> None:
    """413: at once by its Content-Length, else as soon as it is too long."""
    header = f"mux-signature: {signature(SECRET, time.time(), b'')}\r\n"
    begin = f"POST /webhooks/mux HTTP/1.1\r\nHost: here\r\n{header}"
    announced = read(await here.raw(f"{begin}Content-Length: 1048577\r\n\r\n".encode()))
    piece = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    streamed = read(
        await here.raw(f"{begin}Transfer-Encoding: chunked\r\n\r\n".encode() + piece * 17)
    )
    assert (announced.status, streamed.status) == (413, 413)


async def test_a_body_of_a_megabyte_is_read(here: Site) -> None:
    """Only a larger body is refused."""
    body = json.dumps(READY).encode().ljust(1024 * 1024)
    header = signature(SECRET, time.time(), body)
    answer = await here.ask("POST", "/webhooks/mux", body, mux_signature=header)
    assert answer.status == 200


async def test_without_supabase_mux_has_to_send_again(here: Site) -> None:
    """503; once Supabase answers, the same event is settled."""
    here.store.fault = SupabaseUnavailable("connection", "down")
    assert (await here.event()).status == 503
    here.store.fault = None
    assert (await here.event()).status == 200


async def test_mux_is_answered_in_time_whatever_hangs(here: Site, mocker: MockerFixture) -> None:
    """503 at the deadline, if the database hangs or the body never ends."""
    mocker.patch("worker.web.webhooks.handler.DEADLINE_SECONDS", 0.2)
    here.store.may_go_on.clear()
    assert (await here.event()).status == 503
    header = f"mux-signature: {signature(SECRET, time.time(), b'')}\r\n"
    begin = f"POST /webhooks/mux HTTP/1.1\r\nHost: here\r\n{header}Content-Length: 100\r\n\r\n{{"
    assert read(await here.raw(begin.encode())).status == 503


async def test_an_internal_error_shows_no_details(here: Site) -> None:
    """500 with one word; no traceback and no names."""
    here.store.crash = ZeroDivisionError("inside")
    answer = await here.event()
    assert (answer.status, answer.body) == (500, "failed\n")


@pytest.mark.parametrize("path", ["/webhooks/mux", "/no/such/page"])
async def test_an_expectation_that_is_not_utf8_is_a_bad_request(here: Site, path: str) -> None:
    """It is no crash of the worker, and none is logged."""
    request = b"POST %b HTTP/1.1\r\nHost: x\r\nExpect: \xff\r\nConnection: close\r\n\r\n"
    with capture_logs() as lines:
        answer = read(await here.raw(request % path.encode()))
    assert (answer.status, answer.body) == (400, "bad request\n")
    assert [line for line in lines if line["event"] == "web.crashed"] == []


async def test_without_a_secret_there_is_no_such_route() -> None:
    """404, and the log says once why."""
    with capture_logs() as lines:
        async with site(mux_webhook_secret="") as bare:
            answers = [await bare.event(), await bare.event()]
    assert [answer.status for answer in answers] == [404, 404]
    assert [line["event"] for line in lines] == ["webhook.off", "web.listening"]
    assert bare.store.settled == []


async def test_healthz_is_the_state_of_the_loop(here: Site) -> None:
    """200 while scans end, also if the database hangs; 503 with the reason if they do not."""
    here.store.may_go_on.clear()
    assert (await here.ask("GET", "/healthz")).body == '{"status": "ok"}'
    here.liveness._pause_ends_at -= 1000
    answer = await here.ask("GET", "/healthz")
    assert answer.status == 503
    assert "no scan has ended for" in answer.body


async def test_readyz_is_whether_the_worker_can_work(here: Site, mocker: MockerFixture) -> None:
    """Supabase answers, the schema fits, and Mux accepted the last scan's credentials."""
    mocker.patch("worker.web.health.CACHE_SECONDS", -1)
    mocker.patch("worker.web.health.DATABASE_TIMEOUT_SECONDS", 0.5)

    async def readyz() -> tuple[int, str]:
        answer = await here.ask("GET", "/readyz")
        return answer.status, json.loads(answer.body).get("reason", "")

    assert await readyz() == (200, "")
    here.store.fault = SchemaOutdated("schema_outdated", "apply the files after 011")
    assert await readyz() == (503, "Supabase: schema_outdated")
    here.store.fault = SupabaseUnavailable("connection", "the address of something")
    assert await readyz() == (503, "Supabase: connection")
    here.store.fault = None
    here.store.may_go_on.clear()
    assert await readyz() == (503, "Supabase: timeout")
    here.store.may_go_on.set()
    here.outages["mux"] = OutageState(1.0, "http_401", "Refused.", needs_operator=True)
    assert await readyz() == (503, "Mux: unauthorized")
    here.outages["mux"] = OutageState(1.0, "http_503", "Down.", needs_operator=False)
    assert await readyz() == (200, "")


async def test_readyz_fails_if_the_last_scan_needs_an_operator(here: Site) -> None:
    """Also if the database answers other calls; a passing outage does not count."""
    here.outages["supabase"] = OutageState(
        1.0, "read_only", "Free disk space.", needs_operator=True
    )
    answer = await here.ask("GET", "/readyz")
    assert (answer.status, json.loads(answer.body)["reason"]) == (503, "Supabase: read_only")
    here.outages["supabase"] = OutageState(1.0, "timeout", "No response.", needs_operator=False)
    assert (await here.ask("GET", "/readyz")).status == 200
    assert (await here.ask("GET", "/healthz")).status == 200


async def test_the_metrics_count_webhooks_outcomes_and_rows(here: Site) -> None:
    """Webhooks by result, outcomes by source, and rows of the tables."""
    await here.event()
    await here.ask("POST", "/webhooks/mux", b"x")
    text = (await here.ask("GET", "/metrics")).body
    for line in (
        'mux_worker_webhooks_total{result="accepted"} 1.0',
        'mux_worker_webhooks_total{result="unsigned"} 1.0',
        'mux_worker_outcomes_total{outcome="published",source="webhook"} 1.0',
        'mux_worker_lessons{status="processing"} 3.0',
        "mux_worker_oldest_due_seconds 7.5",
        "mux_worker_mux_rate_limit_remaining 4.0",
        "mux_worker_ready_to_published_seconds_count 1.0",
    ):
        assert f"{line}\n" in text


async def test_the_metrics_are_served_without_the_database(here: Site) -> None:
    """Counts of the tables are NaN then."""
    here.store.fault = SupabaseUnavailable("connection", "down")
    answer = await here.ask("GET", "/metrics")
    assert answer.status == 200
    assert 'mux_worker_lessons{status="processing"} NaN\n' in answer.body


async def test_metrics_are_for_operators_where_they_have_a_token() -> None:
    """By Basic or Bearer; health checks stay open."""
    async with site(ops_token="only-for-operators") as guarded:
        for header in ("", "Bearer é", "only-for-operators", "Bearer only-for-operatorsy"):
            answer = await guarded.ask("GET", "/metrics", Authorization=header)
            assert answer.status == 401
        for header in ("Bearer only-for-operators", "Basic Om9ubHktZm9yLW9wZXJhdG9ycw=="):
            assert (await guarded.ask("GET", "/metrics", Authorization=header)).status == 200
        assert (await guarded.ask("GET", "/healthz")).status == 200


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 200),
        (b"GET /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 404),
        (b"PUT /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 405),
        (b"nonsense\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nbad header\r\n\r\n", 400),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nX: " + b"a" * 9000 + b"\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\n" + b"X: y\r\n" * 100 + b"\r\n", 400),
    ],
)
async def test_no_response_shows_the_software(here: Site, request_: bytes, status: int) -> None:
    """No banner, no traceback, and no more than a word, for any request."""
    answer = read(await here.raw(request_))
    assert answer.status == status
    assert not {"aiohttp", "Python", "Traceback"} & set(re.split(r"[\s/]", str(answer)))
    assert len(answer.body) < 100


async def test_slow_heads_do_not_keep_health_from_answering(
    here: Site, mocker: MockerFixture
) -> None:
    """200 connections that never finish their first request are closed, and delay no other."""
    mocker.patch.dict("worker.web.connections.LIMITS", keepalive_timeout=5.0)
    async with AsyncExitStack() as stack:
        slow = [await silent(here, stack) for _ in range(200)]
        assert (await here.ask("GET", "/healthz")).status == 200
        assert not any(reader.at_eof() for reader in slow)
        async with asyncio.timeout(60):
            assert await asyncio.gather(*(ended(reader) for reader in slow)) == [b""] * 200


async def test_connections_over_the_limit_wait(mocker: MockerFixture) -> None:
    """They are answered as soon as silent ones are closed."""
    mocker.patch.dict("worker.web.connections.LIMITS", keepalive_timeout=4.0)
    mocker.patch("worker.web.connections.MAX_CONNECTIONS", 20)
    async with site() as few, AsyncExitStack() as stack:
        slow = [await silent(few, stack) for _ in range(30)]
        asking = asyncio.create_task(few.ask("GET", "/healthz"))
        assert not (await asyncio.wait({asking}, timeout=0.5))[0]
        assert (await asking).status == 200
        assert await asyncio.gather(*(ended(reader) for reader in slow)) == [b""] * 30


async def test_a_connection_that_ends_frees_its_place(
    mocker: MockerFixture,
) -> None:
    """Eight places are enough for fifty connections, one after the other."""
    mocker.patch("worker.web.connections.MAX_CONNECTIONS", 8)
    async with site() as few:
        answers = await asyncio.gather(*(few.ask("GET", "/healthz") for _ in range(50)))
    assert [answer.status for answer in answers] == [200] * 50


def test_connections_leave_descriptors_to_the_rest_of_the_worker(mocker: MockerFixture) -> None:
    """The limit follows the process's descriptor limit, between 8 and 500."""
    limits = {64: 8, 256: 192, 1024: 500, -1: 500}
    getrlimit = mocker.patch("worker.web.connections.resource.getrlimit")
    found = {}
    for limit in limits:
        getrlimit.return_value = (limit, limit)
        found[limit] = connection_limit()
    assert found == limits


async def test_a_slow_second_request_is_closed_as_well(here: Site, mocker: MockerFixture) -> None:
    """The limit holds for each request of a connection."""
    mocker.patch.dict("worker.web.connections.LIMITS", keepalive_timeout=1.0)
    async with AsyncExitStack() as stack:
        reader = await silent(here, stack, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /heal")
        async with asyncio.timeout(60):
            assert (await ended(reader)).startswith(b"HTTP/1.1 200")


async def silent(
    here: Site, stack: AsyncExitStack, sends: bytes = b"GET /healthz HTTP/1.1\r\nX-Slow: "
) -> asyncio.StreamReader:
    """Open a connection that does not finish its request."""
    reader, writer = await asyncio.open_connection("127.0.0.1", here.port)
    stack.callback(writer.close)
    writer.write(sends)
    await writer.drain()
    return reader


async def ended(reader: asyncio.StreamReader) -> bytes:
    """Return all bytes until the connection ends."""
    got = b""
    with suppress(ConnectionError):
        while piece := await reader.read(65536):
            got += piece
    return got
