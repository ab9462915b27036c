"""Write the simulated Mux's records down as the JSON that Mux answers with."""

from typing import Any

from sandbox.mux.timeline import Asset, PlaybackId, Settings, Upload

Json = dict[str, Any]

_DURATION_SECONDS = 23.8238


def error_json(kind: str, *messages: str) -> Json:
    """Give the body of every error but 429."""
    return {"error": {"type": kind, "messages": list(messages)}}


def playback_id_json(playback_id: PlaybackId) -> Json:
    """Give a playback id."""
    return {"id": playback_id.id, "policy": playback_id.policy}


def settings_json(settings: Settings) -> Json:
    """Give `new_asset_settings`, without what was not set."""
    answer: Json = {"video_quality": "basic"}
    if settings.policies:
        answer["playback_policies"] = list(settings.policies)
    if settings.passthrough is not None:
        answer["passthrough"] = settings.passthrough
    if settings.meta:
        answer["meta"] = dict(settings.meta)
    return answer


def upload_json(upload: Upload, now: float, base_url: str) -> Json:
    """Give an upload as it is at `now`; its url begins with `base_url`."""
    status = upload.status(now)
    answer: Json = {
        "id": upload.id,
        "timeout": upload.timeout,
        "status": status,
        "new_asset_settings": settings_json(upload.settings),
        "cors_origin": upload.cors_origin,
    }
    if upload.test:
        answer["test"] = True
    if status == "waiting":
        answer["url"] = f"{base_url}/direct-uploads/{upload.url_token}"
    if status == "asset_created":
        answer["asset_id"] = upload.asset_id
    if status == "errored":
        timeline = upload.timeline
        message = timeline.error_messages[0] if timeline.error_messages else ""
        answer["error"] = {"type": timeline.error_type, "message": message}
    return answer


def asset_json(asset: Asset, now: float) -> Json:
    """Give an asset as it is at `now`."""
    uploaded = asset.upload_id is not None
    answer: Json = {
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
    answer |= _origin(asset)
    playback_ids = [
        playback_id_json(p) for p in asset.playback_ids if p.exists_from <= now < p.exists_until
    ]
    if playback_ids:
        answer["playback_ids"] = playback_ids
    match asset.status(now):
        case "preparing":
            answer["progress"] = {"state": "ingesting", "progress": 0}
        case "errored":
            answer["progress"] = {"state": "errored", "progress": -1}
            messages = list(asset.timeline.error_messages)
            answer["errors"] = {"type": asset.timeline.error_type, "messages": messages}
        case "ready":
            answer |= _media(asset)
    return answer


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
