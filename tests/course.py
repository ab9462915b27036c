"""The app's side in tests: create lessons, track their uploads, and read their rows."""

from contextlib import nullcontext
from datetime import timedelta
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import dict_row

SCHEDULE_COLUMNS = (
    "next_check_at", "check_count", "last_checked_at", "missing_since", "missing_count", "progress",
    "is_recheck", "is_backlog", "owner",
)  # fmt: skip


def let_pass(db: psycopg.Connection, seconds: float, lesson: UUID | None = None) -> None:
    """Move the clocks of one upload back, or of all, but for when it is due. No trigger fires."""
    values = {"passed": timedelta(seconds=seconds), "lesson": lesson}
    with db.transaction():
        # To disable the table's triggers would have every session plan its statements again.
        db.execute("set local session_replication_role = replica")
        db.execute(
            "update mux_asset_tracking set tracked_at = tracked_at - %(passed)s "
            "where %(lesson)s::uuid is null or lesson_id = %(lesson)s",
            values,
        )
        db.execute("set local session_replication_role = origin")
        db.execute(
            "update mux_private.schedule set tracked_at = tracked_at - %(passed)s, "
            "missing_since = missing_since - %(passed)s where %(lesson)s::uuid is null "
            "or tracking_id = (select id from mux_asset_tracking where lesson_id = %(lesson)s)",
            values,
        )


class Course:
    """Create lessons, track uploads as the app does, and read the rows of both."""

    def __init__(self, db: psycopg.Connection, *, anna: UUID, bert: UUID) -> None:
        self._db = db
        self.anna = anna
        self.bert = bert

    def lesson(self, creator: UUID | None = None, **columns: Any) -> UUID:
        """Create a draft, by default Anna's; return its id."""
        values = {"creator_id": creator or self.anna, "title": "A lesson", **columns}
        names = ", ".join(values)
        placeholders = ", ".join(f"%({name})s" for name in values)
        row = self._db.execute(
            f"insert into lessons ({names}) values ({placeholders}) returning id", values
        ).fetchone()
        assert row is not None
        lesson_id: UUID = row[0]
        return lesson_id

    def track(self, lesson: UUID, upload_id: str, **columns: Any) -> None:
        """Upsert the tracking row as the app does, with further columns, also of its schedule."""
        schedule = {name: columns.pop(name) for name in SCHEDULE_COLUMNS if name in columns}
        values = {
            "lesson_id": lesson,
            "upload_id": upload_id,
            "temp_asset_id": f"temp_{upload_id}",
            "status": "processing",
            **columns,
        }
        names = ", ".join([*values, "updated_at"])
        placeholders = ", ".join([*(f"%({name})s" for name in values), "now()"])
        updates = ", ".join(f"{name} = excluded.{name}" for name in [*values, "updated_at"])
        # A worker that runs must not see the one without the other.
        with self._db.transaction() if self._db.autocommit else nullcontext():
            self._db.execute(
                f"insert into mux_asset_tracking ({names}) values ({placeholders}) "
                f"on conflict (lesson_id) do update set {updates}",
                values,
            )
            if schedule:
                self.reschedule(lesson, **schedule)

    def reschedule(self, lesson: UUID | None = None, **columns: Any) -> None:
        """Write columns of the schedule of one tracking row, or of all; a timedelta is from now."""
        updates = ", ".join(
            f"{name} = now() + %({name})s"
            if isinstance(value, timedelta)
            else f"{name} = %({name})s"
            for name, value in columns.items()
        )
        self._db.execute(
            f"update mux_private.schedule set {updates} where %(lesson)s::uuid is null "
            "or tracking_id = (select id from mux_asset_tracking where lesson_id = %(lesson)s)",
            {**columns, "lesson": lesson},
        )

    def tracked_lesson(self, upload_id: str, creator: UUID | None = None, **columns: Any) -> UUID:
        """Create a draft and track an upload for it; return the lesson's id."""
        lesson = self.lesson(creator)
        self.track(lesson, upload_id, **columns)
        return lesson

    def delete(self, lesson: UUID) -> None:
        """Delete a lesson, which deletes its tracking row too."""
        self._db.execute("delete from lessons where id = %s", [lesson])

    def tracking(self, lesson: UUID) -> dict[str, Any]:
        """Return the tracking row of a lesson."""
        return self._fetch_row(b"select * from mux_asset_tracking where lesson_id = %s", lesson)

    def row(self, lesson: UUID) -> dict[str, Any]:
        """Return the tracking row of a lesson, with its schedule, whose columns may be None."""
        columns = ", ".join(f"s.{name}" for name in SCHEDULE_COLUMNS)
        return self._fetch_row(
            f"select t.*, {columns} from mux_asset_tracking t "
            "left join mux_private.schedule s on s.tracking_id = t.id "
            "where t.lesson_id = %s".encode(),
            lesson,
        )

    def state(self, lesson: UUID) -> dict[str, Any]:
        """Return the row of a lesson."""
        return self._fetch_row(b"select * from lessons where id = %s", lesson)

    def events(self, lesson: UUID) -> list[dict[str, Any]]:
        """Return the audit events of a lesson, oldest first."""
        with self._db.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(
                "select * from mux_asset_events where lesson_id = %s order by id", [lesson]
            ).fetchall()

    def notified(self, lesson: UUID) -> int:
        """Return how many notifications the app's trigger has sent for a lesson."""
        return int(
            self._fetch_row(b"select count(*) from notifications where lesson_id = %s", lesson)[
                "count"
            ]
        )

    def make_due(self, lesson: UUID | None = None) -> None:
        """Make one tracking row, or all of them, due now."""
        self.reschedule(lesson, next_check_at=timedelta())

    def backdate(self, lesson: UUID, seconds: float) -> None:
        """Move the times of a tracking row back by some seconds; when it is due stays."""
        let_pass(self._db, seconds, lesson)

    def _fetch_row(self, query: bytes, lesson: UUID) -> dict[str, Any]:
        with self._db.cursor(row_factory=dict_row) as cursor:
            row = cursor.execute(query, [lesson]).fetchone()
        assert row is not None
        return row
