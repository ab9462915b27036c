"""The loop that one would write first, in the worker's place: poll, ask, and write what is ready.

It keeps to no rate limit, and writes the lesson and its row by two requests.
"""

import json
import os
import time
from typing import Any

import httpx

PAUSE_SECONDS = 0.2


def main() -> None:
    """Poll until the process is ended."""
    key = os.environ["SUPABASE_SERVICE_ROLE_KEY"]
    headers = {"apikey": key, "Authorization": f"Bearer {key}"}
    token = (os.environ["MUX_TOKEN_ID"], os.environ["MUX_TOKEN_SECRET"])
    with (
        httpx.Client(base_url=f"{os.environ['SUPABASE_URL']}/rest/v1", headers=headers) as database,
        httpx.Client(base_url=f"{os.environ['MUX_BASE_URL']}/video/v1", auth=token) as mux,
    ):
        while True:
            rows = database.get("/mux_asset_tracking", params={"status": "eq.processing"}).json()
            for row in rows:
                publish_if_ready(row, database, mux)
            print(json.dumps({"event": "scan.finished", "claimed": len(rows)}), flush=True)
            time.sleep(PAUSE_SECONDS)


def publish_if_ready(row: dict[str, Any], database: httpx.Client, mux: httpx.Client) -> None:
    """Ask Mux about one row, and publish its lesson."""
    assets = mux.get("/assets", params={"upload_id": row["upload_id"]}).json().get("data")
    if not assets or assets[0]["status"] != "ready":
        return
    asset = assets[0]
    ids = {"mux_asset_id": asset["id"], "mux_playback_id": asset["playback_ids"][0]["id"]}
    lesson = {"id": f"eq.{row['lesson_id']}"}
    database.patch("/lessons", params=lesson, json={**ids, "status": "published"})
    database.patch(
        "/mux_asset_tracking", params={"id": f"eq.{row['id']}"}, json={**ids, "status": "ready"}
    )


if __name__ == "__main__":
    main()
