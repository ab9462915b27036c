"""The script that an app would use instead, to compare with: five lessons at a time, then a pause.

For each lesson it asks Mux for the upload and the asset, updates the lesson, and upserts the
tracking row: four requests, as a script without functions in the database has to make them.
"""

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

from bench.stage import Stage

BATCH = 5
PAUSE_SECONDS = 1.0


def publish_all(stage: Stage) -> float:
    """Publish every lesson that is tracked and a draft; give the seconds it took."""
    key = stage.supabase.service_role_key
    rest = httpx.Client(
        base_url=f"{stage.supabase.url}/rest/v1",
        headers={"apikey": key, "Authorization": f"Bearer {key}"},
        timeout=30,
    )
    mux = httpx.Client(
        base_url=stage.mux.url, auth=(stage.mux.token_id, stage.mux.token_secret), timeout=30
    )
    began = time.monotonic()
    with rest, mux, ThreadPoolExecutor(BATCH) as pool:
        rows = rest.get(
            "/mux_asset_tracking",
            params={"status": "eq.processing", "select": "lesson_id,upload_id"},
        ).json()
        for start in range(0, len(rows), BATCH):
            list(pool.map(lambda row: _publish(row, rest, mux), rows[start : start + BATCH]))
            if start + BATCH < len(rows):
                time.sleep(PAUSE_SECONDS)
    return time.monotonic() - began


def _publish(row: dict[str, Any], rest: httpx.Client, mux: httpx.Client) -> None:
    upload = mux.get(f"/video/v1/uploads/{row['upload_id']}").raise_for_status().json()["data"]
    asset = mux.get(f"/video/v1/assets/{upload['asset_id']}").raise_for_status().json()["data"]
    ids = {"mux_asset_id": asset["id"], "mux_playback_id": asset["playback_ids"][0]["id"]}
    rest.patch(
        "/lessons",
        params={"id": f"eq.{row['lesson_id']}"},
        json={"status": "published", **ids},
    ).raise_for_status()
    rest.post(
        "/mux_asset_tracking",
        params={"on_conflict": "lesson_id"},
        headers={"Prefer": "resolution=merge-duplicates"},
        json={**row, "status": "ready", **ids},
    ).raise_for_status()
