import inspect
from typing import Any

import pytest

from worker.errors import SupabaseUnavailable
from worker.telemetry.hooks import Telemetry
from worker.telemetry.scan_report import ScanReport

FAULT = SupabaseUnavailable("timeout", "Supabase did not answer in time.")

EVENTS: dict[str, tuple[Any, ...]] = {
    "settled": ([], [], "operator Ines"),
    "adoption_failed": (FAULT, "Apply the files of sql/ again."),
    "id_failed": ({"upload_id": "up1"}, "l1", "timeout", "Mux does not answer."),
    "environment_mismatched": ([], "env1", None),
    "scan_progressed": (),
    "scan_finished": (ScanReport(),),
    "scan_failed": (FAULT,),
    "scan_ended": (5.0,),
    "mux_answered": ("GET /video/v1/assets", "200"),
    "mux_retried": (FAULT, 1, 0.5),
    "rpc_ended": ("worker_claim", 0.1, ""),
    "webhook_answered": ("accepted",),
    "published_after_ready": (1.5,),
}


def test_every_event_is_tried_here() -> None:
    """The table above names all of them."""
    methods = {name for name, _ in inspect.getmembers(Telemetry, inspect.isfunction)}
    assert {name for name in methods if not name.startswith("_")} == {*EVENTS, "subscribe"}


@pytest.mark.parametrize("event", EVENTS)
def test_an_event_reaches_every_subscriber(event: str) -> None:
    """Those given at first and those that subscribed later, in this order, with its arguments."""
    received: list[tuple[str, tuple[Any, ...]]] = []

    def subscriber(name: str) -> Telemetry:
        def record(_self: Telemetry, *arguments: Any) -> None:
            received.append((name, arguments))

        subscribed: Telemetry = type("Subscriber", (Telemetry,), {event: record})()
        return subscribed

    telemetry = Telemetry(subscriber("first"))
    telemetry.subscribe(subscriber("second"))
    getattr(telemetry, event)(*EVENTS[event])
    assert received == [("first", EVENTS[event]), ("second", EVENTS[event])]
