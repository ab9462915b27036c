"""Serialize the records of the simulated Mux to the JSON of Mux's API."""

from typing import Any

from sandbox.mux.timeline import Asset, AssetSettings, PlaybackId, Upload

Json = dict[str, Any]

_DURATION_SECONDS = 23.8238


def error_json(error_type: str, *messages: str) -> Json:
    """Return the body of every error but 429."""
    return {"error": {"type": error_type, "messages": list(messages)}}


def playback_id_json(playback_id: PlaybackId) -> Json:
    """Return a playback id."""
    return {"id": playback_id.id, "policy": playback_id.policy}


def settings_json(settings: AssetSettings) -> Json:
    """Return `new_asset_settings`, without what was not set."""
    body: Json = {"video_quality": "basic"}
    if settings.policies:
        body["playback_policies"] = list(settings.policies)
    if settings.passthrough is not None:
        body["passthrough"] = settings.passthrough
    if settings.meta:
        body["meta"] = dict(settings.meta)
    return body


def upload_json(upload: Upload, now: float, base_url: str) -> Json:
    """Return an upload as it is at `now`; its URL begins with `base_url`."""
    status = upload.status(now)
    body: Json = {
        "id": upload.id,
        "timeout": upload.timeout,
        "status": status,
        "new_asset_settings": settings_json(upload.settings),
        "cors_origin": upload.cors_origin,
    }
    if upload.test:
        body["test"] = True
    if status == "waiting":
        body["url"] = f"{base_url}/direct-uploads/{upload.url_token}"
    if status == "asset_created":
        body["asset_id"] = upload.asset_id
    if status == "errored":
        timeline = upload.timeline
        message = timeline.error_messages[0] if timeline.error_messages else ""
        body["error"] = {"type": timeline.error_type, "message": message}
    return body


def asset_json(asset: Asset, now: float) -> Json:
    """Return an asset as it is at `now`."""
    uploaded = asset.upload_id is not None
    body: Json = {
        "id": asset.id,
        "created_at": str(int(asset.created_at)),
        "status": asset.status(now),
        "max_resolution_tier": "1080p",
        "encoding_tier": "baseline",
        "video_quality": "basic",
        "master_access": "none",
        "mp4_support": "none",
        "ingest_type": "on_demand_direct_upload" if uploaded else "on_demand_url",
    }
    body |= _origin(asset)
    playback_ids = asset.playback_ids_at(now)
    if playback_ids:
        body["playback_ids"] = [playback_id_json(playback_id) for playback_id in playback_ids]
    match asset.status(now):
        case "preparing":
            share = (now - asset.created_at) / asset.timeline.prepare_seconds
            state = "transcoding" if share >= 0.1 else "ingesting"
            body["progress"] = {"state": state, "progress": int(100 * share)}
        case "errored":
            body["progress"] = {"state": "errored", "progress": -1}
            messages = list(asset.timeline.error_messages)
            body["errors"] = {"type": asset.timeline.error_type, "messages": messages}
        case "ready":
            body |= _media(asset)
    return body


def _origin(asset: Asset) -> Json:
    origin: Json = {}
    if asset.upload_id is not None:
        origin["upload_id"] = asset.upload_id
    if asset.settings.passthrough is not None:
        origin["passthrough"] = asset.settings.passthrough
    if asset.settings.meta:
        origin["meta"] = dict(asset.settings.meta)
    if asset.test:
        origin["test"] = True
    return origin


def _media(asset: Asset) -> Json:
    video = {
        "type": "video",
        "id": asset.id[::-1],
        "duration": _DURATION_SECONDS,
        "max_width": 1920,
        "max_height": 1080,
        "max_frame_rate": 29.97,
    }
    return {
        "progress": {"state": "completed", "progress": 100},
        "duration": _DURATION_SECONDS,
        "aspect_ratio": "16:9",
        "resolution_tier": "1080p",
        "max_stored_resolution": "HD",
        "max_stored_frame_rate": 29.97,
        "tracks": [video],
    }
