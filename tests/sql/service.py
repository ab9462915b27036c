"""The worker's side of the database, for tests: its functions, called as PostgREST calls them."""

from typing import Any

import psycopg
from psycopg.types.json import Jsonb

Json = dict[str, Any]

PUBLISH = {"verdict": "publish", "reason": "asset_ready"}
FAIL = {"verdict": "fail", "reason": "asset_errored", "message": "not a video"}
WAIT = {"verdict": "wait", "reason": "asset_preparing"}


def fact(verdict: Json, upload: str | None, asset: str | None = None, **more: Any) -> Json:
    """Build an item of `worker_settle` with an observation beside it."""
    playback = {"playback_id": f"play-{asset}"} if verdict is PUBLISH else {}
    seen = {"source": "probe", "upload_id": upload, "asset_id": asset}
    ids = {"upload_id": upload, "asset_id": asset}
    return {**verdict, **ids, **playback, "observation": seen, **more}


def looked_at(row: Json, verdict: Json = WAIT, **more: Any) -> Json:
    """Build the part of an item that is about one claimed row."""
    claimed: Json = {n: row[n] for n in ("id", "tracked_at", "leased_until") if n in row}
    return {**claimed, "pause_seconds": 20, "missing": False, **verdict, **more}


class Service:
    """Calls the worker's functions as `service_role`, on one connection."""

    def __init__(self, connection: psycopg.Connection) -> None:
        self.connection = connection
        connection.execute(
            "select set_config('request.jwt.claims', '{\"role\": \"service_role\"}', false)"
        )

    def claim(self, size: int = 100, lease: float = 60) -> list[Json]:
        """Claim due rows."""
        rows: list[Json] = self._call("select worker_claim(%s, %s)", size, lease)["rows"]
        return rows

    def settle(self, *items: Json, environment: str | None = None) -> list[Json]:
        """Settle items; give the outcomes without what varies."""
        outcomes: list[Json] = self._call(
            "select worker_settle(%s, %s)", Jsonb(list(items)), environment
        )
        return outcomes

    def outcomes(self, *items: Json) -> list[str]:
        """Settle items; give the outcomes' names."""
        return [outcome["outcome"] for outcome in self.settle(*items)]

    def record_refusal(self, item: Json, problem: str = "too slow") -> list[Json]:
        """Make the rows back off that an item is about; return the outcomes."""
        outcomes: list[Json] = self._call(
            "select worker_record_refusal(%s, '57014', %s)", Jsonb(item), problem
        )
        return outcomes

    def release(self, rows: list[Json]) -> int:
        """Hand rows back."""
        count: int = self._call("select worker_release(%s)", Jsonb(rows))
        return count

    def summary(self) -> Json:
        """Count rows."""
        counts: Json = self._call("select worker_summary()")
        return counts

    def _call(self, query: str, *values: Any) -> Any:
        row = self.connection.execute(query.encode(), values).fetchone()
        assert row is not None
        return row[0]
