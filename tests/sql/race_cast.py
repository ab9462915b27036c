"""Who races, and from where: every request that may meet another, every state they may find."""

import json
from typing import Any
from uuid import UUID

import psycopg
from psycopg.types.json import Jsonb

from tests.conftest import ANNA, BERT
from tests.sql.racing import Action, Call, Scene
from tests.sql.service import FAIL, PUBLISH, WAIT, Json, fact, looked_at

LESSON = UUID("11111111-0000-4000-8000-000000000000")
OTHER_LESSON = UUID("22222222-0000-4000-8000-000000000000")
BERTS_LESSON = UUID("33333333-0000-4000-8000-000000000000")

LESSONS = f"""
    insert into lessons (id, creator_id, title) values
    ('{LESSON}', '{ANNA}', 'Raced for'), ('{OTHER_LESSON}', '{ANNA}', 'Beside'),
    ('{BERTS_LESSON}', '{BERT}', 'Another''s')
"""


def tracked(upload: str, lesson: UUID = LESSON) -> str:
    """Give the statement that tracks an upload."""
    return f"""
        insert into mux_asset_tracking (lesson_id, upload_id) values ('{lesson}', '{upload}')
        on conflict (lesson_id) do update set upload_id = excluded.upload_id, updated_at = now()
    """


def settled(item: Json) -> str:
    """Give the statement that settles a fact."""
    return f"select worker_settle('{json.dumps([item])}')"


# What happened before, one transaction each. Nobody raced then.
STATES: dict[str, list[str]] = {
    "nothing tracked": [
        f"update lessons set mux_asset_id = 'as0', mux_playback_id = 'p0' where id = '{LESSON}'"
    ],
    "claimed": [tracked("up1"), settled(fact(WAIT, "up1", "as1")), "select worker_claim(1, 60)"],
    "ready": [tracked("up1"), settled(fact(PUBLISH, "up1", "as1"))],
    "failed": [tracked("up1"), settled({**fact(FAIL, "up1", "as1"), "reason": "gave_up"})],
    "uploaded again": [tracked("up0"), settled(fact(PUBLISH, "up0", "as0")), tracked("up1")],
}
TWO_TRACKED = "two tracked"
BEFORE = {
    **STATES,
    TWO_TRACKED: [tracked("up1"), tracked("up9", OTHER_LESSON)],
}
PROCESSING = frozenset({"claimed", "uploaded again"})


def _value(query: bytes, *values: Any) -> Call:
    def call(connection: psycopg.Connection, _: Scene) -> Any:
        row = connection.execute(query, values).fetchone()
        assert row is not None
        return row[0]

    return call


def _count(query: bytes, *values: Any) -> Call:
    return lambda connection, _: connection.execute(query, values).rowcount


def _answer(query: bytes, *values: Any) -> Call:
    """Leave out of what the app is told the time, which no two runs share."""

    def call(connection: psycopg.Connection, scene: Scene) -> Any:
        return {**_value(query, *values)(connection, scene), "checkedAt": None}

    return call


def _outcomes(connection: psycopg.Connection, *items: Json) -> str:
    row = connection.execute("select worker_settle(%s)", [Jsonb(list(items))]).fetchone()
    assert row is not None
    return " ".join(outcome["outcome"] for outcome in row[0])


def _settles(*items: Json) -> Call:
    return lambda connection, _: _outcomes(connection, *items)


def _settles_claimed(verdict: Json) -> Call:
    def call(connection: psycopg.Connection, scene: Scene) -> str:
        assert scene.claimed is not None
        claimed = [looked_at(scene.claimed, verdict)]
        return _outcomes(connection, fact(verdict, "up1", "as1", claimed=claimed))

    return call


_claims = _value(b"select jsonb_array_length(worker_claim(9, 60) -> 'rows')")


def _releases(connection: psycopg.Connection, scene: Scene) -> Any:
    return _value(b"select worker_release(%s)", Jsonb([scene.claimed]))(connection, scene)


def settles_in_environment(environment: str) -> Action:
    """Give a worker that has found ids in this environment of Mux."""
    call = _value(b"select worker_settle('[]', %s)", environment)
    return Action(f"settle in {environment}", None, call)


def saves(*rows: tuple[UUID, str]) -> Call:
    """Upsert rows as the app does, with the statement that PostgREST makes of it."""
    body = [{"lesson_id": str(lesson), "upload_id": upload} for lesson, upload in rows]
    return _count(
        b"""
        insert into mux_asset_tracking (lesson_id, upload_id, temp_asset_id, status, updated_at)
        select lesson_id, upload_id, 'temp_' || upload_id, 'processing', now()
        from jsonb_to_recordset(%s) as body (lesson_id uuid, upload_id text)
        on conflict (lesson_id) do update
        set lesson_id = excluded.lesson_id, upload_id = excluded.upload_id,
            temp_asset_id = excluded.temp_asset_id, status = excluded.status,
            updated_at = excluded.updated_at
        """,
        Jsonb(body),
    )


# What each may be told instead of an answer. The lesson is gone: told by the foreign key if it
# went during the upsert, by row level security if before.
GONE = {"PT404": "gone"}
GONE_FROM_UPSERT = {"23503": "gone", "42501": "gone"}
BY_HAND = {**GONE, "PT400": "no video", "PT409": "broken video"}
TRACKS = b"select track_upload(%s::text, %s)"

WORKERS = [
    Action("claim", None, _claims, states=PROCESSING),
    Action("release", None, _releases, states=PROCESSING),
    Action("publish", None, _settles(fact(PUBLISH, "up1", "as1"))),
    Action("fail", None, _settles(fact(FAIL, "up1", "as1"))),
    Action("wait", None, _settles(fact(WAIT, "up1", "as1"))),
    Action("publish claimed", None, _settles_claimed(PUBLISH), states=PROCESSING),
    Action("fail claimed", None, _settles_claimed(FAIL), states=PROCESSING),
    Action("wait claimed", None, _settles_claimed(WAIT), states=PROCESSING),
]
REQUESTS = [
    Action("track anew", ANNA, _answer(TRACKS, LESSON, "up2"), GONE),
    Action("track again", ANNA, _answer(TRACKS, LESSON, "up1"), GONE),
    Action("track beside", ANNA, _answer(TRACKS, OTHER_LESSON, "up1"), GONE),
    Action("track as Bert", BERT, _answer(TRACKS, BERTS_LESSON, "up1"), GONE),
    Action("upsert", ANNA, saves((LESSON, "up3")), GONE_FROM_UPSERT),
    Action("publish by hand", ANNA, _value(b"select publish_lesson(%s::text)", LESSON), BY_HAND),
    Action("look", ANNA, _answer(b"select check_asset_status(%s::text)", LESSON), GONE),
    Action("delete lesson", ANNA, _count(b"delete from lessons where id = %s", LESSON)),
    Action(
        "delete row", ANNA, _count(b"delete from mux_asset_tracking where lesson_id = %s", LESSON)
    ),
]
LESSON_UPDATES = [
    Action("retitle", ANNA, _count(b"update lessons set title = 'New' where id = %s", LESSON)),
    Action(
        "archive", ANNA, _count(b"update lessons set status = 'archived' where id = %s", LESSON)
    ),
    Action(
        "write ids",
        ANNA,
        _count(
            b"update lessons set mux_asset_id = 'as9', mux_playback_id = 'p9' where id = %s", LESSON
        ),
    ),
]
APPS = [*REQUESTS, *LESSON_UPDATES]
EVERYBODY = [*WORKERS, *APPS]


def _claims_both(connection: psycopg.Connection, scene: Scene) -> Any:
    """Say as a settle does that one of the two could not be had."""
    count = _claims(connection, scene)
    return count if count == 2 else f"{count} and busy"


# Requests about two lessons, in this order and in the other.
_FACTS = [fact(PUBLISH, "up1", "as1"), fact(PUBLISH, "up9", "as9")]
_WAITS = [fact(WAIT, "up1", "as1"), fact(WAIT, "up9", "as9")]
_SAVED = [(LESSON, "up3"), (OTHER_LESSON, "up8")]
_DELETES = b"delete from lessons where id = any (%s)"
SETTLES_OF_TWO = [
    Action("publish", None, _settles(*_FACTS)),
    Action("publish in opposite order", None, _settles(*_FACTS[::-1])),
    Action("wait", None, _settles(*_WAITS)),
    Action("wait in opposite order", None, _settles(*_WAITS[::-1])),
    Action("claim", None, _claims_both),
]
IN_BULK = [
    Action("upsert", ANNA, saves(*_SAVED), GONE_FROM_UPSERT),
    Action("upsert in opposite order", ANNA, saves(*_SAVED[::-1]), GONE_FROM_UPSERT),
    Action("delete", ANNA, _count(_DELETES, [LESSON, OTHER_LESSON])),
]
FOR_ONE_OF_TWO = [
    Action("publish by hand", ANNA, _value(b"select publish_lesson(%s::text)", LESSON), BY_HAND),
    Action("track anew", ANNA, _answer(TRACKS, LESSON, "up2"), GONE),
    Action("track beside", ANNA, _answer(TRACKS, OTHER_LESSON, "up2"), GONE),
]


# Where somebody else may be in the way, so that a request stops there in the middle.
def row_held(lesson: UUID) -> str:
    """Give the statement that holds a tracking row."""
    return f"select from mux_asset_tracking where lesson_id = '{lesson}' for update"


HELD = {
    "the lesson": f"select from lessons where id = '{LESSON}' for update",
    "the row": row_held(LESSON),
    "the place of the row": f"""
        insert into mux_asset_tracking (lesson_id, upload_id)
        select id, 'up4' from lessons where id = '{LESSON}' on conflict do nothing
    """,
    "the upload": f"""
        insert into mux_private.upload_history (lesson_id, owner, mux_id, how)
        select '{LESSON}', '{ANNA}', name, 'tracked' from unnest('{{up1,up2,up3}}'::text[]) name
        on conflict do nothing
    """,
    "the asset": f"""
        insert into mux_private.upload_history (lesson_id, owner, mux_id, how)
        select '{LESSON}', '{ANNA}', name, 'stood there' from unnest('{{as0,as1}}'::text[]) name
        on conflict do nothing
    """,
}
