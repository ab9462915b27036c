"""An app's database of any shape, and those who call it as PostgREST does: for whole stories."""

from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import dict_row

from tests.sql.instructor import Instructor
from tests.sql.lesson_shapes import Shape, create_lesson
from tests.sql.service import Json, Service, fact, looked_at
from worker.adapter.options import Options
from worker.adapter.quoting import quote_name

LONG_AGO = "2020-01-01"

UPSERT = """
    insert into mux_asset_tracking (lesson_id, upload_id, temp_asset_id, status, updated_at)
    values (%s, %s, %s, 'processing', now())
    on conflict (lesson_id) do update
    set lesson_id = excluded.lesson_id, upload_id = excluded.upload_id,
        temp_asset_id = excluded.temp_asset_id, status = excluded.status,
        updated_at = excluded.updated_at"""
"""Tracks an upload as PostgREST does for a client that upserts the row."""


def fetch(connection: psycopg.Connection, query: str, *values: object) -> Any:
    """Return the value of a query of one row and one column."""
    row = connection.execute(query.encode(), values).fetchone()
    assert row is not None
    return row[0]


@dataclass(frozen=True)
class Story:
    """The database, the app's owner of it, the worker, and two instructors.

    The upload up1 becomes the asset as1, which plays as play-as1, and so on.
    """

    shape: Shape
    options: Options
    db: psycopg.Connection
    service: Service
    anna: Instructor
    bert: Instructor

    @property
    def done(self) -> str:
        """Return what a draft becomes."""
        return "published" if self.shape.has_status else "attached"

    @property
    def owner(self) -> str | None:
        """Return whose Anna's lessons are."""
        return self.shape.anna if self.shape.has_owner else None

    @property
    def tracker(self) -> psycopg.Connection:
        """Return the connection of who tracks uploads: Anna, or else the app's server."""
        return (self.anna if self.shape.has_owner else self.service).connection

    def lesson(self, status: str = "draft", **values: Any) -> str:
        """Create a lesson as the app does, by default Anna's; return its key."""
        return create_lesson(self.db, self.shape, status=status, **values)

    def placeholder(self, upload: str, **values: Any) -> str:
        """Create a draft that holds the placeholders of an upload and is not tracked."""
        ids = {"asset_id": f"temp_{upload}", "playback_id": f"temp_playback_{upload}"}
        return self.lesson(**ids, **values)

    def track(self, lesson: str, upload: str) -> Json:
        """Track an upload by RPC; return the answer."""
        query = "select track_upload(%s, %s, %s)"
        answer: Json = fetch(self.tracker, query, lesson, upload, f"temp_{upload}")
        return answer

    def upsert(self, lesson: str, upload: str) -> None:
        """Track an upload without the RPC."""
        self.tracker.execute(UPSERT, [lesson, upload, f"temp_{upload}"])

    def ask(self, call: str, *values: object) -> Any:
        """Call a function of the worker's."""
        return fetch(self.service.connection, f"select {call}", *values)

    def settle(self, verdict: Json, upload: str, lesson: str) -> str:
        """Claim what is due, which must be this lesson alone; settle it; return the outcome."""
        (claimed,) = self.service.claim()
        assert claimed["lesson_id"] == lesson
        claim, asset = looked_at(claimed, verdict), upload.replace("up", "as")
        outcomes = self.service.settle(fact(verdict, upload, asset, claimed=[claim]))
        (outcome,) = (o["outcome"] for o in outcomes if o["lesson_id"] == lesson)
        return str(outcome)

    def save(self, lesson: str, **values: object) -> None:
        """Write columns of a lesson as a form of the app does; named as the options are."""
        columns = {getattr(self.options, option): value for option, value in values.items()}
        columns.pop(None, None)
        changes = ", ".join(f"{quote_name(column)} = %s" for column in columns)
        query = f"update {self.shape.lessons} set {changes} where {self.key}::text = %s"
        self.db.execute(query.encode(), [*columns.values(), lesson])

    def grow_old(self) -> None:
        """Let every lesson have changed last long ago. No trigger fires."""
        if self.options.updated is None:
            return
        self.db.execute(
            "set session_replication_role = replica; "
            f"update {self.shape.lessons} set {quote_name(self.options.updated)} = '{LONG_AGO}'; "
            "set session_replication_role = origin".encode()
        )

    def state(self, lesson: str) -> Json:
        """Return a lesson: its status as text, its ids, and whether it has just changed."""
        options = self.options
        status = f"{quote_name(options.status)}::text" if options.status else "null"
        updated = f"{quote_name(options.updated)}::timestamptz" if options.updated else "null"
        (row,) = self.rows(
            f"select {status} as status, {quote_name(options.asset)} as asset_id, "
            f"{quote_name(options.playback)} as playback_id, "
            f"now() - {updated} < interval '1 minute' as has_just_changed "
            f"from {self.shape.lessons} where {self.key}::text = %s",
            lesson,
        )
        return row

    def changed(self, status: str, asset: str | None, playback: str | None = None) -> Json:
        """Return the state of a lesson that has just changed to this."""
        return {
            "status": self.shape.published if status == "published" else self.shape.draft,
            "asset_id": asset,
            "playback_id": playback or (asset and f"play-{asset}"),
            "has_just_changed": None if self.options.updated is None else True,
        }

    def keys_in_order(self) -> list[str]:
        """Return the keys of all lessons, as the app's table orders them."""
        query = f"select {self.key}::text as key from {self.shape.lessons} l order by l.{self.key}"
        return [row["key"] for row in self.rows(query)]

    def tracking(self, lesson: str) -> list[Json]:
        """Return the tracking row of a lesson, if there is one, with when it is due."""
        query = """
            select t.*, s.next_check_at from mux_asset_tracking t
            left join mux_private.schedule s on s.tracking_id = t.id where t.lesson_id::text = %s"""
        return self.rows(query, lesson)

    def events(self, lesson: str) -> list[tuple[Any, ...]]:
        """Return the audit of a lesson: event, whose, the lesson's status before and after."""
        query = """
            select event, owner, lesson_from_status, lesson_to_status
            from mux_asset_events where lesson_id::text = %s order by id"""
        return [tuple(row.values()) for row in self.rows(query, lesson)]

    def rows(self, query: str, *values: object) -> list[Json]:
        """Return the rows of a query."""
        with self.db.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(query.encode(), values).fetchall()

    @property
    def key(self) -> str:
        """Return the name of the key, quoted."""
        return quote_name(self.options.key)

    def open(self, tables: tuple[str, ...], verbs: str) -> None:
        """Grant signed-in users something on tables of the app."""
        schema = quote_name(self.options.lessons.schema)
        self.db.execute(f"grant usage on schema {schema} to authenticated".encode())
        for table in tables:
            self.db.execute(f"grant {verbs} on {table} to authenticated".encode())
