"""Measure the latency with webhooks, and its cost."""

import json
import subprocess
import sys
from dataclasses import dataclass

from bench.answers import Answer, Bar, Bars, Detail, Row, quantile
from bench.sizes import Sizes
from bench.stage import CHECKOUT, WORKER, Stage, stage
from bench.traffic import wait_for_port, web_settings
from sandbox.mux.responses import asset_json
from sandbox.mux.webhooks import event_json

MIB = 1024 * 1024
IN_FLIGHT = 32
PER_SECOND = 200
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
checked to be published. Sender, worker, gateway, PostgREST and Postgres share the machine."""


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


def webhooks(sizes: Sizes) -> Answer:
    """Measure events in three mixes."""
    sent, asked, mib = _send_all(sizes.webhook_events)
    rows = [
        Row(
            f"Webhook sent to lesson published, {mix.name}: p50 / p99 in ms",
            f"{mix.milliseconds(0.5):.1f} / {mix.milliseconds(0.99):.1f}",
        )
        for mix in sent
    ]
    rows += [
        Row(f"Webhooks a second, {IN_FLIGHT} in flight", f"{sent[2].per_second:.0f}"),
        Row("RPCs an event, the same", f"{sent[2].calls / len(sent[2].seconds):.3f}"),
        Row("Mux requests for all of them", str(asked), limit="0"),
        Row("Resident memory after them", f"{mib:.0f} MiB"),
    ]
    bars = tuple(Bar(mix.name, mix.milliseconds(0.99), is_ours=True) for mix in sent)
    return Answer(
        "Latency with webhooks",
        HOW,
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


def _send_all(number: int) -> tuple[list[Sent], int, float]:
    """Send all mixes to one worker; return the results, the Mux requests, and the memory in MiB."""
    settings = web_settings()
    with stage() as here:
        # As if webhooks had arrived before, so that the scan leaves the new uploads to them.
        here.db.execute("update mux_private.worker_state set events_at = now()")
        with here.worker(WORKER, **settings) as process:
            wait_for_port(settings)
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
