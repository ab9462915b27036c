import json
from collections.abc import Callable
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.properties.mux_json import bodies, broken_bytes, described
from worker.decide import Rules, settlement
from worker.errors import MuxUnauthorized, MuxUnavailable
from worker.model import Observation, is_mux_id
from worker.mux.parse import read_asset, read_upload
from worker.mux.response import (
    Response,
    check,
    read_asset_of,
    read_assets,
    read_control,
    read_object,
    read_uploads,
    read_whoami,
)
from worker.supabase.serialize import sanitize, settlement_json
from worker.web.webhooks.event import InvalidEvent, read_event

OPENAPI = Path(__file__).parents[3] / "shared" / "mux" / "openapi.json"
needs_openapi = pytest.mark.skipif(
    not OPENAPI.exists(),
    reason="Mux's OpenAPI description is not at ../shared/mux/openapi.json",
)

few = settings(max_examples=settings().max_examples // 5)  # each is made of hundreds of choices

STATUSES = st.sampled_from([200, 200, 200, 400, 401, 404, 408, 422, 429, 500]) | st.integers(
    100, 599
)
REQUESTED = st.sampled_from(["as1", "ready", "temp_up1"])
HEADERS = st.dictionaries(
    st.sampled_from(["Retry-After", "x-ratelimit-limit", "x-ratelimit-remaining"]), st.text()
)
EVENT_TYPES = (
    st.sampled_from(
        [f"video.asset.{name}" for name in ("created", "ready", "errored", "updated", "deleted")]
        + [f"video.upload.{name}" for name in ("asset_created", "errored", "cancelled", "created")]
    )
    | st.text()
)


def observations(response: Response, requested_id: str) -> list[Observation]:
    """Return what each reader finds in a response."""
    as_asset = partial(read_asset, source="probe")
    as_upload = partial(read_upload, source="probe")
    readers: list[Callable[[], Any]] = [
        lambda: [read_object(response, "asset", requested_id, as_asset)],
        lambda: [read_object(response, "upload", requested_id, as_upload)],
        lambda: page(read_assets(response)),
        lambda: page(read_uploads(1, 100, response)),
        lambda: [read_asset_of(requested_id, response)],
        lambda: [read_control(response)],  # type: ignore[func-returns-value]  # it may raise
        lambda: [read_whoami(response)],
    ]
    found: list[Any] = []
    for reader in readers:
        with suppress(MuxUnavailable, MuxUnauthorized):
            found += reader()
    return [one for one in found if isinstance(one, Observation)]


def page(read: Any) -> list[Observation]:
    """Return the observations of a page, whose cursor can be sent back."""
    assert read.next is None or (read.next.isascii() and read.next)
    return list(read.observations)


def has_valid_ids(observation: Observation) -> bool:
    """Whether each of its ids can be one of Mux's, and it is about one."""
    ids = [observation.upload_id, observation.asset_id]
    ids += [playback.id for playback in observation.playback_ids]
    own = observation.upload_id if observation.subject == "upload" else observation.asset_id
    return own is not None and all(id_ is None or is_mux_id(id_) for id_ in ids)


def can_be_settled(observation: Observation) -> bool:
    """Whether Postgres takes what is sent about it: JSON without NaN, NUL or half characters."""
    item = sanitize(settlement_json(settlement(observation, (), Rules())))
    sent = json.dumps(item, allow_nan=False, ensure_ascii=False).encode()
    return b"\\u0000" not in sent


@given(STATUSES, HEADERS, bodies.map(json.dumps) | broken_bytes(), REQUESTED)
def test_any_answer_is_observations_with_valid_ids_or_a_fault(
    status: int, headers: dict[str, str], body: str | bytes, requested_id: str
) -> None:
    """Nothing else is raised, for each request, whatever the status, the headers and the body."""
    try:
        response = check(Response.of(status, headers, body))
    except (MuxUnavailable, MuxUnauthorized):
        return
    for observation in observations(response, requested_id):
        assert has_valid_ids(observation)
        assert can_be_settled(observation)


@given(EVENT_TYPES, bodies, broken_bytes())
def test_any_event_is_an_observation_with_valid_ids_or_none(
    type_: str, content: Any, other: bytes
) -> None:
    """Nothing but InvalidEvent is raised, and what is observed can be settled."""
    event = {"type": type_, **(content if isinstance(content, dict) else {"data": content})}
    for body in (json.dumps(event).encode(), other):
        try:
            observation = read_event(body).observation
        except InvalidEvent:
            continue
        if observation is not None:
            assert has_valid_ids(observation)
            assert can_be_settled(observation)


@cache
def _description() -> Any:
    return json.loads(OPENAPI.read_text())


@st.composite
def described_by(draw: st.DrawFn, name: str) -> Any:
    """Return what Mux's OpenAPI allows for a schema."""
    schemas = _description()["components"]["schemas"]
    return draw(described(schemas, schemas[name]))


def asset_ids(asset: Any) -> tuple[Any, ...]:
    """Return the ids of an asset as Mux sent it: its own, the upload's, the playback ids'."""
    playback_ids = tuple((p["id"], p["policy"]) for p in asset.get("playback_ids", ()))
    return asset["id"], asset.get("upload_id"), playback_ids


def seen_ids(seen: Observation) -> tuple[Any, ...]:
    """Return the ids of an observation, as `asset_ids` does."""
    playback_ids = tuple((p.id, p.policy) for p in seen.playback_ids)
    return seen.asset_id, seen.upload_id, playback_ids


@needs_openapi
@few
@given(described_by("AssetResponse"))
def test_every_asset_that_mux_describes_is_observed(body: Any) -> None:
    """With its ids and its status."""
    asset = body["data"]
    response = check(Response.of(200, None, json.dumps(body)))
    seen = read_object(response, "asset", asset["id"], partial(read_asset, source="probe"))
    assert (seen.status, *seen_ids(seen)) == (asset["status"], *asset_ids(asset))
    assert can_be_settled(seen)


@needs_openapi
@few
@given(described_by("UploadResponse"))
def test_every_upload_that_mux_describes_is_observed(body: Any) -> None:
    """With its id, its status and its asset."""
    upload = body["data"]
    response = check(Response.of(200, None, json.dumps(body)))
    seen = read_object(response, "upload", upload["id"], partial(read_upload, source="probe"))
    assert (seen.upload_id, seen.status) == (upload["id"], upload["status"])
    assert seen.asset_id == upload.get("asset_id")
    assert can_be_settled(seen)


@needs_openapi
@few
@given(described_by("ListAssetsResponse"))
def test_every_list_of_assets_that_mux_describes_is_observed(body: Any) -> None:
    """Each asset of it, in the order of the list."""
    response = Response.of(200, None, json.dumps(body))
    if "data" not in body:
        with pytest.raises(MuxUnavailable):
            check(response)
        return
    seen = read_assets(check(response)).observations
    assert [seen_ids(one) for one in seen] == [asset_ids(asset) for asset in body["data"]]


@needs_openapi
@few
@given(st.sampled_from(["created", "ready", "errored", "updated"]), described_by("WebhookAsset"))
def test_every_asset_event_that_mux_describes_is_observed(name: str, asset: Any) -> None:
    """With the ids and the status of its asset."""
    event = read_event(json.dumps({"type": f"video.asset.{name}", "data": asset}).encode())
    assert event.observation is not None
    assert (event.observation.status, *seen_ids(event.observation)) == (
        asset["status"],
        *asset_ids(asset),
    )


@needs_openapi
@few
@given(
    st.sampled_from(["asset_created", "cancelled", "errored"]), described_by("WebhookDirectUpload")
)
def test_every_upload_event_that_mux_describes_is_observed(name: str, upload: Any) -> None:
    """With the ids of its upload, and the status of the event."""
    event = read_event(json.dumps({"type": f"video.upload.{name}", "data": upload}).encode())
    seen = event.observation
    assert seen is not None
    assert (seen.upload_id, seen.asset_id) == (upload["id"], upload.get("asset_id"))
    assert seen.status == name
