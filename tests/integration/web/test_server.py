import asyncio
import json
import re
import threading
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
from pytest_mock import MockerFixture
from structlog.testing import capture_logs

from sandbox.mux.webhooks import signature
from worker.errors import SchemaOutdated, SupabaseUnavailable, Unavailable
from worker.model import Note, Outcome, Settlement
from worker.settings import Settings
from worker.telemetry.hooks import Telemetry
from worker.telemetry.liveness import Liveness
from worker.telemetry.outcome_log import OutcomeLog
from worker.telemetry.scan_history import Fault, ScanHistory, Service
from worker.web.connections import most_connections
from worker.web.server import served

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
    """Keeps what is settled; hangs, or fails, when told to."""

    settled: list[list[Settlement]] = field(default_factory=list)
    noted: list[Note] = field(default_factory=list)
    notices: int = 0
    fault: Unavailable | None = None
    crash: Exception | None = None
    may_go_on: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.may_go_on.set()

    async def settle(
        self, settlements: Sequence[Settlement], environment_id: str | None
    ) -> list[Outcome]:
        """Publish everything."""
        self.settled.append(list(settlements))
        await self._go_on()
        assert environment_id is None
        return [
            Outcome("published", asset_id=s.observation.asset_id, age_seconds=1.0)
            for s in settlements
        ]

    async def take_note(self, notes: Sequence[Note]) -> list[Outcome]:
        """Keep notes."""
        self.noted += notes
        await self._go_on()
        return [Outcome("waiting") for _ in notes]

    async def note_events(self, environment_id: str | None, *, has_matched: bool) -> str | None:
        """Count how often webhooks were told to arrive; our environment is `home`."""
        self.notices += 1
        return "home"

    async def check_schema(self) -> None:
        """Answer, or not."""
        await self._go_on()

    async def summary(self) -> dict[str, Any]:
        """Count rows."""
        await self._go_on()
        return {"processing": 3, "error": 1, "due": 1, "stuck": 0,
                "oldest_due_seconds": 7.5}  # fmt: skip

    async def call(self, function: str, params: dict[str, Any]) -> Any:
        """Answer nothing: without a status page nobody asks."""
        raise AssertionError(function, params)

    async def _go_on(self) -> None:
        await self.may_go_on.wait()
        if self.crash is not None:
            raise self.crash
        if self.fault is not None:
            raise self.fault


class Answer(NamedTuple):
    """What came back."""

    status: int
    head: str
    body: str


@dataclass
class Site:
    """A server of ours, and what stands behind it."""

    port: int
    store: FakeStore
    mux: Any
    liveness: Liveness
    outages: dict[Service, Fault]

    async def raw(self, request: bytes, within: float = 10) -> bytes:
        """Send bytes on a connection of its own; give all that comes until it is closed."""
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

    async def event(self, told: Any = None, **changes: Any) -> Answer:
        """Send a signed event."""
        body = json.dumps({**(told or READY), **changes}).encode()
        header = signature(SECRET, time.time(), body)
        return await self.ask("POST", "/webhooks/mux", body, mux_signature=header)


def read(answer: bytes) -> Answer:
    """Take an answer apart."""
    head, _, body = answer.decode().partition("\r\n\r\n")
    return Answer(int(head.split()[1]), head, body)


@asynccontextmanager
async def site(**more: str) -> AsyncIterator[Site]:
    """Serve on a free port."""
    told: dict[str, Any] = {
        "supabase_url": "http://localhost",
        "supabase_service_role_key": "sb_secret_x",
        "mux_token_id": "id",
        "mux_token_secret": "secret",
        "mux_webhook_secret": f"another,{SECRET}",
        "host": "127.0.0.1",
        "port": 1,
        **more,
    }
    settings = Settings(_env_file=None, **told)
    free = settings.model_copy(update={"port": 0})
    store, mux = FakeStore(), SimpleNamespace(is_refused=False, rate_limit=("5", "4"))
    liveness, outages = Liveness(5, 100), dict[Service, Fault]()
    telemetry, history = Telemetry(OutcomeLog()), ScanHistory(lambda: outages)
    async with served(free, telemetry, liveness, mux, store, history) as port:
        yield Site(port, store, mux, liveness, outages)


@pytest.fixture
async def here() -> AsyncIterator[Site]:
    """Give a server with everything at its default."""
    async with site() as found:
        yield found


async def test_a_signed_event_is_settled_before_it_is_answered(here: Site) -> None:
    """By the same decision as a scan's, and the workers are told that webhooks arrive."""
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
    """What comes while a call is under way goes in the next one; what came twice, once."""
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
    """Count the requests that the server is at work on."""
    names = [getattr(task.get_coro(), "__qualname__", "") for task in asyncio.all_tasks()]
    return names.count("RequestHandler._handle_request")


async def until(condition: Any) -> None:
    """Let the loop run until something is so."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  # what others do is looked at, not told
            await asyncio.sleep(0.01)


async def test_an_event_that_nobody_needs_is_done_with(here: Site) -> None:
    """It is answered with 200, and nothing is asked of the database but to know that it came."""
    assert (await here.event(type="video.upload.created")).body == "ignored\n"
    assert (await here.event(type="doctor.test")).body == "ignored\n"
    assert (here.store.settled, here.store.noted, here.store.notices) == ([], [], 1)


async def test_an_upload_that_failed_is_noted(here: Site) -> None:
    """Its event says no reason, so that nothing is decided by it."""
    data = {"id": "up1", "status": "errored"}
    assert (await here.event(type="video.upload.errored", data=data)).status == 200
    assert [(n.kind, n.observation.upload_id) for n in here.store.noted] == [("look", "up1")]
    assert here.store.settled == []


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
async def test_what_mux_did_not_sign_is_refused(here: Site, header: str | None) -> None:
    """401, whatever is wrong with the signature, and nothing comes of it."""
    body = json.dumps(READY).encode()
    if header == "forged":
        header = signature("another secret", time.time(), body)
    headers = {} if header is None else {"mux_signature": header}
    answer = await here.ask("POST", "/webhooks/mux", body, **headers)
    assert (answer.status, answer.body) == (401, "unsigned\n")
    assert (here.store.settled, here.store.notices) == ([], 0)


async def test_ten_bad_signatures_are_one_line(here: Site) -> None:
    """The log names each reason rarely, and never the signature."""
    with capture_logs() as told:
        for _ in range(10):
            await here.ask("POST", "/webhooks/mux", b"x", mux_signature="t=1,v1=" + "a" * 64)
    assert [(line["event"], line["reason"]) for line in told] == [("webhook.rejected", "stale")]
    assert "aaaa" not in str(told)


async def test_a_signed_body_that_is_no_event_is_refused(here: Site) -> None:
    """400: sending it again would not help, and Mux's log shows it."""
    for body in (b"no json", b"{}", b'{"type": "video.asset.ready", "data": 5}'):
        header = signature(SECRET, time.time(), body)
        answer = await here.ask("POST", "/webhooks/mux", body, mux_signature=header)
        assert (answer.status, answer.body) == (400, "invalid\n")


async def test_few_large_bodies_are_read_at_a_time(here: Site) -> None:
    """Their senders are not known before the end, and must not fill the memory; small ones pass."""
    header = signature("guessed", time.time(), b"")
    head = f"POST /webhooks/mux HTTP/1.1\r\nHost: x\r\nmux-signature: {header}\r\n"
    begun = f"{head}Content-Length: 1000000\r\n\r\n".encode() + b"x" * 100_000
    async with AsyncExitStack() as stack:
        large = [await silent(here, stack, begun) for _ in range(20)]
        refused = [asyncio.create_task(ended(reader)) for reader in large]
        done, _ = await asyncio.wait(refused, timeout=2)
        assert len(done) == 16
        assert {task.result().split()[1] for task in done} == {b"503"}
        assert (await here.event()).status == 200
        # The four were given up after the deadline, and their places with them.
        answers = await asyncio.gather(*refused)
        assert {answer.split()[1] for answer in answers} == {b"503"}
    padded = await here.event(padding="x" * 200_000)
    assert padded.status == 200


async def test_too_large_a_body_is_not_read(here: Site) -> None:
    """413, by its announced length at once, else as soon as it is too long."""
    header = f"mux-signature: {signature(SECRET, time.time(), b'')}\r\n"
    begin = f"POST /webhooks/mux HTTP/1.1\r\nHost: here\r\n{header}"
    announced = read(await here.raw(f"{begin}Content-Length: 1048577\r\n\r\n".encode()))
    piece = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    streamed = read(
        await here.raw(f"{begin}Transfer-Encoding: chunked\r\n\r\n".encode() + piece * 17)
    )
    assert (announced.status, streamed.status) == (413, 413)


async def test_a_body_of_a_megabyte_is_read(here: Site) -> None:
    """The limit is for what is larger."""
    body = json.dumps(READY).encode().ljust(1024 * 1024)
    header = signature(SECRET, time.time(), body)
    answer = await here.ask("POST", "/webhooks/mux", body, mux_signature=header)
    assert answer.status == 200


async def test_without_supabase_mux_is_asked_to_come_again(here: Site) -> None:
    """503, and when Supabase is back the same event is settled."""
    here.store.fault = SupabaseUnavailable("connection", "down")
    assert (await here.event()).status == 503
    here.store.fault = None
    assert (await here.event()).status == 200


async def test_mux_is_answered_in_time_whatever_hangs(here: Site, mocker: MockerFixture) -> None:
    """With a database that hangs, and with a body that never ends: 503 at our own deadline."""
    mocker.patch("worker.web.webhooks.handler.DEADLINE_SECONDS", 0.2)
    here.store.may_go_on.clear()
    assert (await here.event()).status == 503
    header = f"mux-signature: {signature(SECRET, time.time(), b'')}\r\n"
    begin = f"POST /webhooks/mux HTTP/1.1\r\nHost: here\r\n{header}Content-Length: 100\r\n\r\n{{"
    assert read(await here.raw(begin.encode())).status == 503


async def test_a_crash_of_ours_tells_nobody_how(here: Site) -> None:
    """500 in one word; no traceback, no name of ours in it."""
    here.store.crash = ZeroDivisionError("inside")
    answer = await here.event()
    assert (answer.status, answer.body) == (500, "failed\n")


async def test_without_a_secret_there_is_no_such_route() -> None:
    """404 for everybody, and the log says once why."""
    with capture_logs() as told:
        async with site(mux_webhook_secret="") as bare:
            answers = [await bare.event(), await bare.event()]
    assert [answer.status for answer in answers] == [404, 404]
    assert [line["event"] for line in told] == ["webhook.off", "web.listening"]
    assert bare.store.settled == []


async def test_health_is_that_of_the_loop(here: Site) -> None:
    """200 while passes end, also while the database hangs; 503 with the reason when they do not."""
    here.store.may_go_on.clear()
    assert (await here.ask("GET", "/healthz")).body == '{"status": "ok"}'
    here.liveness._pause_ends_at -= 1000
    answer = await here.ask("GET", "/healthz")
    assert answer.status == 503
    assert "no scan has ended for" in answer.body


async def test_ready_is_who_could_work_now(here: Site, mocker: MockerFixture) -> None:
    """Supabase answers with a schema that fits, and Mux took the credentials last."""
    mocker.patch("worker.web.health.KEEP_SECONDS", -1)
    mocker.patch("worker.web.health.ASK_WITHIN_SECONDS", 0.1)

    async def told() -> tuple[int, str]:
        answer = await here.ask("GET", "/readyz")
        return answer.status, json.loads(answer.body).get("reason", "")

    assert await told() == (200, "")
    here.store.fault = SchemaOutdated("schema_outdated", "apply the files after 011")
    assert await told() == (503, "Supabase: schema_outdated")
    here.store.fault = SupabaseUnavailable("connection", "the address of something")
    assert await told() == (503, "Supabase: connection")
    here.store.fault = None
    here.store.may_go_on.clear()
    assert await told() == (503, "Supabase: timeout")
    here.store.may_go_on.set()
    here.mux.is_refused = True
    assert await told() == (503, "Mux: unauthorized")


async def test_ready_tells_of_a_scan_that_an_operator_has_to_help(here: Site) -> None:
    """Also where the database answers other questions; what passes by itself is left to them."""
    here.outages["supabase"] = Fault(1.0, "read_only", "Free disk space.", needs_operator=True)
    answer = await here.ask("GET", "/readyz")
    assert (answer.status, json.loads(answer.body)["reason"]) == (503, "Supabase: read_only")
    here.outages["supabase"] = Fault(1.0, "timeout", "No response.", needs_operator=False)
    assert (await here.ask("GET", "/readyz")).status == 200
    assert (await here.ask("GET", "/healthz")).status == 200


async def test_the_numbers_tell_what_was_answered(here: Site) -> None:
    """Webhooks by result, outcomes by source, and the tables; without those if they are silent."""
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


async def test_numbers_are_given_also_without_the_database(here: Site) -> None:
    """What the tables hold is then not a number, and all else is as it is."""
    here.store.fault = SupabaseUnavailable("connection", "down")
    answer = await here.ask("GET", "/metrics")
    assert answer.status == 200
    assert 'mux_worker_lessons{status="processing"} NaN\n' in answer.body


async def test_numbers_are_for_operators_where_they_have_a_token() -> None:
    """Without the token, or with another one, nobody is told; health stays open."""
    async with site(ops_token="only-for-operators") as guarded:
        for header in (
            "",
            "Bearer x",
            "only-for-operators",
            "Bearer only-for-operatorsy",
            "Bearer é",
        ):
            answer = await guarded.ask("GET", "/metrics", Authorization=header)
            assert (answer.status, answer.body) == (401, "unauthorized\n")
        good = await guarded.ask("GET", "/metrics", Authorization="Bearer only-for-operators")
        assert good.status == 200
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
async def test_no_answer_says_what_made_it(here: Site, request_: bytes, status: int) -> None:
    """No banner, no traceback, no more than a word, whatever was asked."""
    answer = read(await here.raw(request_))
    assert answer.status == status
    assert not {"aiohttp", "Python", "Traceback"} & set(re.split(r"[\s/]", str(answer)))
    assert len(answer.body) < 100


async def test_slow_heads_do_not_keep_health_from_answering(
    here: Site, mocker: MockerFixture
) -> None:
    """200 connections that never finish their first request are closed, and hold nobody up."""
    mocker.patch("worker.web.connections.HEAD_WITHIN_SECONDS", 1.0)
    async with AsyncExitStack() as stack:
        slow = [await silent(here, stack) for _ in range(200)]
        began = time.monotonic()
        assert (await here.ask("GET", "/healthz")).status == 200
        assert time.monotonic() - began < 1
        async with asyncio.timeout(7):  # aiohttp's own limit, 10 s, is not what is tried
            assert await asyncio.gather(*(ended(reader) for reader in slow)) == [b""] * 200


async def test_more_connections_than_allowed_wait_for_a_place(mocker: MockerFixture) -> None:
    """Those beyond the limit are answered as soon as silent ones have had their time."""
    mocker.patch("worker.web.connections.HEAD_WITHIN_SECONDS", 2.0)
    mocker.patch("worker.web.connections.MOST_CONNECTIONS", 20)
    async with site() as few, AsyncExitStack() as stack:
        slow = [await silent(few, stack) for _ in range(30)]
        asking = asyncio.create_task(few.ask("GET", "/healthz"))
        assert not (await asyncio.wait({asking}, timeout=0.5))[0]
        assert (await asking).status == 200
        assert await asyncio.gather(*(ended(reader) for reader in slow)) == [b""] * 30


async def test_a_connection_that_has_its_answer_gives_its_place_back(
    mocker: MockerFixture,
) -> None:
    """One place is enough for many requests, each on a connection of its own."""
    mocker.patch("worker.web.connections.MOST_CONNECTIONS", 8)
    async with site() as few:
        answers = await asyncio.gather(*(few.ask("GET", "/healthz") for _ in range(50)))
    assert [answer.status for answer in answers] == [200] * 50


def test_connections_leave_descriptors_to_the_rest_of_the_worker(mocker: MockerFixture) -> None:
    """The limit follows what the process may open, however little that is, and has an end."""
    limits = {64: 8, 256: 192, 1024: 500, -1: 500}
    getrlimit = mocker.patch("worker.web.connections.resource.getrlimit")
    found = {}
    for limit in limits:
        getrlimit.return_value = (limit, limit)
        found[limit] = most_connections()
    assert found == limits


async def test_a_slow_second_request_is_closed_as_well(here: Site, mocker: MockerFixture) -> None:
    """A connection that has asked once is not trusted for ever."""
    mocker.patch("worker.web.connections.HEAD_WITHIN_SECONDS", 0.5)
    mocker.patch("worker.web.connections.CLOSED_AFTER_SECONDS", 1.0)
    async with AsyncExitStack() as stack:
        reader = await silent(here, stack, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /heal")
        async with asyncio.timeout(7):
            assert (await ended(reader)).startswith(b"HTTP/1.1 200")


async def silent(
    here: Site, stack: AsyncExitStack, sends: bytes = b"GET /healthz HTTP/1.1\r\nX-Slow: "
) -> asyncio.StreamReader:
    """Open a connection that does not finish what it says."""
    reader, writer = await asyncio.open_connection("127.0.0.1", here.port)
    stack.callback(writer.close)
    writer.write(sends)
    await writer.drain()
    return reader


async def ended(reader: asyncio.StreamReader) -> bytes:
    """Wait for the end of a connection; give what came before."""
    got = b""
    with suppress(ConnectionError):
        while piece := await reader.read(65536):
            got += piece
    return got


async def test_a_loop_that_hangs_is_told_by_a_thread(here: Site, mocker: MockerFixture) -> None:
    """While the event loop is blocked, 503 with the reason, on the same port; then it is over."""
    mocker.patch("worker.web.stand_in.HANGS_AFTER_SECONDS", 0.7)
    got: list[bytes] = []

    def ask() -> None:
        import socket

        with socket.create_connection(("127.0.0.1", here.port), timeout=20) as connection:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            while piece := connection.recv(4096):
                got.append(piece)

    asking = threading.Thread(target=ask)
    began = time.monotonic()
    asking.start()
    asking.join(20)  # blocks the event loop, which is the point
    assert time.monotonic() - began < 15
    answer = read(b"".join(got))
    assert (answer.status, json.loads(answer.body)["reason"]) == (503, "the event loop hangs")
    async with asyncio.timeout(20):  # it is over with the loop's next beat
        while (await here.ask("GET", "/healthz")).status != 200:
            continue
