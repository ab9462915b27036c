"""Every event of the simulated Mux, judged by Mux's own OpenAPI description."""

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from sandbox.mux.clock import ManualClock
from sandbox.mux.state import MuxState
from sandbox.mux.timeline import Ending, Timeline
from sandbox.mux.webhooks import data_of, event_json, moments

DESCRIPTION = Path(__file__).resolve().parents[4] / "shared" / "mux" / "openapi.json"


@pytest.fixture(scope="module")
def description() -> Any:
    """Give Mux's description."""
    if not DESCRIPTION.exists():
        pytest.skip("Mux's OpenAPI description is not beside the checkout")
    return json.loads(DESCRIPTION.read_text())


@pytest.mark.parametrize("ending", ["ready", "asset_errored", "upload_errored", "cancelled"])
def test_every_event_is_one_that_mux_describes(description: Any, ending: Ending) -> None:
    """By its type, whole; what the description forgets to require is there as well."""
    clock = ManualClock()
    state = MuxState(clock, seed=1)
    timeline = Timeline(
        1, 2, ending, late_policy="public", late_after_seconds=1, deleted_after_seconds=5
    )
    state.create_upload(timeline, passthrough="lesson", external_id="lesson")
    clock.advance(100)
    told = sorted((m for m in moments(state) if m[0] <= clock.now()), key=lambda m: m[0])
    assert len(told) == {"ready": 6, "asset_errored": 6}.get(ending, 2)
    for at, kind, about in told:
        event = event_json(kind, at, data_of(kind, about, at), state)
        described = description["webhooks"][kind]["post"]["requestBody"]["content"]
        schema = described["application/json"]["schema"] | {"components": description["components"]}
        Draft202012Validator(schema).validate(event)
        assert event["type"] == kind
        assert event["object"]["id"] == event["data"]["id"]


def test_a_replaced_playback_id_is_told_of_twice() -> None:
    """Once with both ids, once with the new one alone."""
    clock = ManualClock()
    state = MuxState(clock, seed=1)
    asset = state.asset(state.create_asset())
    (old,) = asset.playback_ids
    clock.advance(1)
    new = state.add_playback_id(asset.id)
    clock.advance(1)
    state.remove_playback_id(asset.id, old.id)
    told = sorted(at for at, kind, _ in moments(state) if kind == "video.asset.updated")
    assert [
        [one["id"] for one in data_of("video.asset.updated", asset, at)["playback_ids"]]
        for at in told[:2]
    ] == [[old.id, new.id], [new.id]]
