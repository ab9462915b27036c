"""Validate every event of the simulated Mux against Mux's OpenAPI description."""

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from sandbox.mux.clock import ManualClock
from sandbox.mux.state import MuxState
from sandbox.mux.timeline import Ending, Timeline
from sandbox.mux.webhooks import event_data, event_json, scheduled_events

DESCRIPTION = Path(__file__).resolve().parents[4] / "shared" / "mux" / "openapi.json"


@pytest.fixture(scope="module")
def description() -> Any:
    """Return Mux's description."""
    if not DESCRIPTION.exists():
        pytest.skip("Mux's OpenAPI description is not at ../shared/mux/openapi.json")
    return json.loads(DESCRIPTION.read_text())


@pytest.mark.parametrize("ending", ["ready", "asset_errored", "upload_errored", "cancelled"])
def test_every_event_is_one_that_mux_describes(description: Any, ending: Ending) -> None:
    """Each event fits its schema, and has the fields that the schema does not require."""
    clock = ManualClock()
    state = MuxState(clock, seed=1)
    timeline = Timeline(
        1, 2, ending, late_policy="public", late_after_seconds=1, deleted_after_seconds=5
    )
    state.create_upload(timeline, passthrough="lesson", external_id="lesson")
    clock.advance(100)
    events = sorted(
        (event for event in scheduled_events(state) if event.at <= clock.now()),
        key=lambda event: event.at,
    )
    assert len(events) == {"ready": 6, "asset_errored": 6}.get(ending, 2)
    for scheduled in events:
        event = event_json(scheduled.type, scheduled.at, event_data(scheduled), state)
        described = description["webhooks"][scheduled.type]["post"]["requestBody"]["content"]
        schema = described["application/json"]["schema"] | {"components": description["components"]}
        Draft202012Validator(schema).validate(event)
        assert event["type"] == scheduled.type
        assert event["object"]["id"] == event["data"]["id"]


def test_a_replaced_playback_id_is_two_events() -> None:
    """The first event has both ids, the second has the new one alone."""
    clock = ManualClock()
    state = MuxState(clock, seed=1)
    asset = state.asset(state.create_asset())
    (old,) = asset.playback_ids
    clock.advance(1)
    new = state.add_playback_id(asset.id)
    clock.advance(1)
    state.remove_playback_id(asset.id, old.id)
    updates = sorted(
        (event for event in scheduled_events(state) if event.type == "video.asset.updated"),
        key=lambda event: event.at,
    )
    assert [
        [playback_id["id"] for playback_id in event_data(event)["playback_ids"]]
        for event in updates[:2]
    ] == [[old.id, new.id], [new.id]]
