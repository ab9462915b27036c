"""The app's side of the story, for tests: lessons and what is written about their uploads."""

from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import dict_row


class Course:
    """Creates lessons and tracks uploads the way the app does, and reads what became of them."""

    def __init__(self, db: psycopg.Connection, *, anna: UUID, bert: UUID) -> None:
        self._db = db
        self.anna = anna
        self.bert = bert

    def lesson(self, creator: UUID | None = None, **columns: Any) -> UUID:
        """Create a draft, Anna's unless said otherwise."""
        values = {"creator_id": creator or self.anna, "title": "A lesson", **columns}
        names = ", ".join(values)
        marks = ", ".join(f"%({name})s" for name in values)
        row = self._db.execute(
            f"insert into lessons ({names}) values ({marks}) returning id", values
        ).fetchone()
        assert row is not None
        found: UUID = row[0]
        return found

    def track(self, lesson: UUID, upload_id: str, **columns: Any) -> None:
        """Write the tracking row as the app's own upsert does, with columns beyond it if given."""
        values = {
            "lesson_id": lesson,
            "upload_id": upload_id,
            "temp_asset_id": f"temp_{upload_id}",
            "status": "processing",
            **columns,
        }
        names = ", ".join([*values, "updated_at"])
        marks = ", ".join([*(f"%({name})s" for name in values), "now()"])
        sets = ", ".join(f"{name} = excluded.{name}" for name in [*values, "updated_at"])
        self._db.execute(
            f"insert into mux_asset_tracking ({names}) values ({marks}) "
            f"on conflict (lesson_id) do update set {sets}",
            values,
        )

    def tracked_lesson(self, upload_id: str, creator: UUID | None = None, **columns: Any) -> UUID:
        """Create a draft and track an upload for it."""
        lesson = self.lesson(creator)
        self.track(lesson, upload_id, **columns)
        return lesson

    def delete(self, lesson: UUID) -> None:
        """Delete a lesson, and with it its tracking row."""
        self._db.execute("delete from lessons where id = %s", [lesson])

    def row(self, lesson: UUID) -> dict[str, Any]:
        """Read the tracking row of a lesson."""
        return self._one(b"select * from mux_asset_tracking where lesson_id = %s", lesson)

    def state(self, lesson: UUID) -> dict[str, Any]:
        """Read a lesson."""
        return self._one(b"select * from lessons where id = %s", lesson)

    def events(self, lesson: UUID) -> list[dict[str, Any]]:
        """Read the audit of a lesson, oldest first."""
        with self._db.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(
                "select * from mux_asset_events where lesson_id = %s order by id", [lesson]
            ).fetchall()

    def notified(self, lesson: UUID) -> int:
        """Count how often the app has told the students of a lesson that it was published."""
        return int(
            self._one(b"select count(*) from notifications where lesson_id = %s", lesson)["count"]
        )

    def make_due(self, lesson: UUID | None = None) -> None:
        """Make a row, or all of them, due now."""
        self._db.execute(
            "update mux_asset_tracking set next_check_at = now() "
            "where status = 'processing' and (%(lesson)s::uuid is null or lesson_id = %(lesson)s)",
            {"lesson": lesson},
        )

    def backdate(self, lesson: UUID, seconds: float) -> None:
        """Let the row's upload have begun some seconds ago, and all else with it."""
        self._db.execute(
            "update mux_asset_tracking set tracked_at = tracked_at - make_interval(secs => %(s)s), "
            "missing_since = missing_since - make_interval(secs => %(s)s) "
            "where lesson_id = %(lesson)s",
            {"s": seconds, "lesson": lesson},
        )

    def _one(self, query: bytes, lesson: UUID) -> dict[str, Any]:
        with self._db.cursor(row_factory=dict_row) as cursor:
            row = cursor.execute(query, [lesson]).fetchone()
        assert row is not None
        return row
