"""Measure the latency with webhooks, and its cost."""

import json
import random
import secrets
import socket
import subprocess
import sys
import time
from dataclasses import dataclass

from bench.answers import Answer, Bar, Bars, Detail, Row, quantile
from bench.sizes import Sizes
from bench.stage import CHECKOUT, WORKER, Stage, stage
from bench.steady import LOOK_EVERY_SECONDS, Way
from sandbox.http_server import HOST, free_port
from sandbox.mux.responses import asset_json
from sandbox.mux.webhooks import MuxWebhooks, event_json

MIB = 1024 * 1024
IN_FLIGHT = 32
PER_SECOND = 200
SYNC_ENGINE = "one row straight into Postgres (`@mux/sync-engine`): "
MIXES = (
    ("one at a time", 1, 0.0),
    (f"{PER_SECOND} a second", IN_FLIGHT, float(PER_SECOND)),
    (f"{IN_FLIGHT} in flight", IN_FLIGHT, 0.0),
)

HOW = """\
A separate process sends signed `video.asset.ready` events, each for another draft, over
connections that stay open. The worker has `PORT` and `MUX_WEBHOOK_SECRET`, and otherwise the
default settings. The time counts from the moment at which an event is sent (at a fixed rate: is
due to be sent) to its answer, which comes after the commit. At the end of each mix every lesson is
checked to be published. Sender, worker, gateway, PostgREST and Postgres share the machine. Then
uploads arrive for {seconds:g} s as in the steady state above, {in_flight} in flight, once with
webhooks from the simulated Mux and once without."""


@dataclass(frozen=True, slots=True)
class Sent:
    """The result of one mix of events."""

    name: str
    seconds: list[float]
    took: float
    calls: int

    @property
    def per_second(self) -> float:
        """Events answered a second."""
        return len(self.seconds) / self.took

    def milliseconds(self, share: float) -> float:
        """Return a quantile."""
        return 1000 * quantile(self.seconds, share)


@dataclass(frozen=True, slots=True)
class Kept:
    """What was seen while uploads kept coming."""

    waits: list[float]
    asked_per_second: float

    @property
    def halves(self) -> str:
        """Return the latencies as text."""
        return f"{quantile(self.waits, 0.5):.2f} / {quantile(self.waits, 0.99):.2f}"


def webhooks(sizes: Sizes) -> Answer:
    """Measure events in three mixes, then a steady stream of uploads with and without webhooks."""
    sent, asked, mib = _send_all(sizes.webhook_events)
    result, untold = (_keep_uploading(sizes, with_webhooks) for with_webhooks in (True, False))
    rows = [
        Row(
            f"Webhook sent to lesson published, {mix.name}: p50 / p99 in ms",
            f"{mix.milliseconds(0.5):.1f} / {mix.milliseconds(0.99):.1f}",
            beside,
        )
        for mix, beside in zip(sent, (f"{SYNC_ENGINE}2.1 / 8.6", "", ""), strict=True)
    ]
    rows += [
        Row(
            f"Webhooks a second, {IN_FLIGHT} in flight",
            f"{sent[2].per_second:.0f}",
            f"{SYNC_ENGINE}497",
        ),
        Row(
            "RPCs an event, the same",
            f"{sent[2].calls / len(sent[2].seconds):.3f}",
        ),
        Row("Mux requests for all of them", str(asked), limit="0"),
        Row("Resident memory after them", f"{mib:.0f} MiB"),
        Row(
            f"{sizes.in_flight} uploads in flight, with webhooks: ready to published, "
            "p50 / p99 in seconds",
            result.halves,
            f"without: {untold.halves}",
            is_headline=True,
        ),
        Row(
            "Mux requests a second, the same",
            f"{result.asked_per_second:.2f}",
            f"without: {untold.asked_per_second:.2f}",
            limit="0",
        ),
    ]
    bars = tuple(Bar(mix.name, mix.milliseconds(0.99), is_ours=True) for mix in sent)
    return Answer(
        "Latency with webhooks",
        HOW.format(seconds=sizes.steady_seconds, in_flight=sizes.in_flight),
        tuple(rows),
        (_detail(sent),),
        {"webhooks": Bars("Webhook sent to lesson published, p99", "ms", bars)},
    )


def _detail(sent: list[Sent]) -> Detail:
    return Detail(
        ("Events", "Number", "A second", "p50", "p95", "p99", "Most", "RPCs"),
        tuple(
            (
                mix.name,
                str(len(mix.seconds)),
                f"{mix.per_second:.0f}",
                *(f"{mix.milliseconds(share):.1f} ms" for share in (0.5, 0.95, 0.99, 1)),
                str(mix.calls),
            )
            for mix in sent
        ),
    )


def _web_settings() -> dict[str, str]:
    secret = secrets.token_hex(16)
    return {"PORT": str(free_port()), "HOST": HOST, "MUX_WEBHOOK_SECRET": secret}


def _wait_for_port(settings: dict[str, str]) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            socket.create_connection((settings["HOST"], int(settings["PORT"]))).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return


def _send_all(number: int) -> tuple[list[Sent], int, float]:
    """Send all mixes to one worker; return the results, the Mux requests, and the memory in MiB."""
    settings = _web_settings()
    with stage() as here:
        # As if webhooks had arrived before, so that the scan leaves the new uploads to them.
        here.db.execute("update mux_private.worker_state set events_at = now()")
        with here.worker(WORKER, **settings) as process:
            _wait_for_port(settings)
            _send(here, settings, ("warm up", 1, 0.0), 50)
            here.mux.requests.clear()
            sent = [_send(here, settings, mix, number) for mix in MIXES]
            return sent, len(here.mux.requests.all()), process.memory_info().rss / MIB


def _send(here: Stage, settings: dict[str, str], mix: tuple[str, int, float], number: int) -> Sent:
    name, at_once, per_second = mix
    before, calls = here.count("published"), len(here.supabase.requests)
    result = subprocess.run(
        [
            *(sys.executable, "-m", "bench.sender", settings["PORT"]),
            *(settings["MUX_WEBHOOK_SECRET"], str(at_once), str(per_second)),
        ],
        input="\n".join(_events(here, number)),
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=True,
    )
    answered = json.loads(result.stdout)
    assert answered["refused"] == []
    assert here.count("published") == before + number
    return Sent(name, answered["seconds"], answered["took"], len(here.supabase.requests) - calls)


def _events(here: Stage, number: int) -> list[str]:
    """Track ready uploads; return their events."""
    state, kind = here.mux.state, "video.asset.ready"
    assets = [state.asset(lesson.video.asset_id) for lesson in here.add_lessons(number)]
    now = state.clock.now()
    return [json.dumps(event_json(kind, now, asset_json(a, now), state)) for a in assets]


def _keep_uploading(sizes: Sizes, with_webhooks: bool) -> Kept:
    """Keep uploads arriving, with or without webhooks."""
    settings = _web_settings()
    with stage(5) as here:
        tells = MuxWebhooks(
            here.mux.state,
            f"http://127.0.0.1:{settings['PORT']}/webhooks/mux",
            settings["MUX_WEBHOOK_SECRET"],
        )
        with here.worker(WORKER, **settings):
            _wait_for_port(settings)
            if with_webhooks:
                tells.start()
            try:
                way = Way("webhooks", here, random.Random(1))
                for _ in range(sizes.in_flight):
                    way.upload(sizes)
                _go_on(way, sizes, sizes.warm_up_seconds)
                way.begin()
                began = time.monotonic()
                _go_on(way, sizes, sizes.steady_seconds)
                way.end(time.monotonic() - began)
            finally:
                tells.stop()
    assert way.waits
    return Kept(way.waits, way.asked / way.seconds)


def _go_on(way: Way, sizes: Sizes, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        way.look(sizes)
        time.sleep(LOOK_EVERY_SECONDS)
