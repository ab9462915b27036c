"""Fill the tables with millions of rows, nearly all of them settled long ago."""

import psycopg
from psycopg import sql

PROCESSING = 3_000
FAILED = 1_000
"""Of the newest and the oldest rows; as many at every size, so that only what is ready grows."""

EACH_INSTRUCTORS = 50
CHUNK = 500_000

ROWS = {
    "lessons": """
        insert into lessons (id, creator_id, title, status, mux_asset_id, mux_playback_id)
        select lesson, instructor, 'Lesson ' || n,
               case when waits then 'draft' else 'published' end,
               case when not waits then asset end, case when not waits then playback end""",
    "mux_asset_tracking": f"""
        insert into mux_asset_tracking (lesson_id, upload_id, temp_asset_id, mux_asset_id,
          mux_playback_id, status, created_at, updated_at, tracked_at, settled_at)
        select lesson, upload, 'temp_' || upload, case when not waits then asset end,
               case when not waits then playback end,
               (case when waits then 'processing' when n <= {FAILED} then 'error' else 'ready'
                end)::mux_asset_status,
               moment, moment, moment, case when not waits then moment end""",
    "mux_private.upload_history": """
        insert into mux_private.upload_history (lesson_id, owner, mux_id, asset_id, playback_id,
          how, is_known, was_published, heard_at)
        select lesson, instructor, upload, case when not waits then asset end,
               case when not waits then playback end, 'tracked', not waits, not waits, moment""",
    "mux_asset_events": """
        insert into mux_asset_events (happened_at, actor, event, lesson_id, tracking_id, upload_id,
          asset_id, playback_id, from_status, to_status, reason, observation)
        select moment - interval '29 days', 'service_role', 'published', lesson, lesson, upload,
               asset, playback, 'processing', 'ready', 'asset_ready',
               jsonb_build_object('source', 'probe', 'upload_id', upload, 'asset_id', asset)""",
}
"""The values of row number n in each table; ids are as long and as random as Mux's."""

SCHEDULE = """
    insert into mux_private.schedule
      (tracking_id, owner, tracked_at, next_check_at, last_checked_at, check_count)
    select t.id, l.creator_id, t.tracked_at, now() + interval '1 day', t.tracked_at, 5
    from mux_asset_tracking t join lessons l on l.id = t.lesson_id
    where t.status = 'processing'"""
"""What waits, as the triggers would have entered it."""

NUMBERED = """
    from (
      select n, md5('lesson' || n)::uuid as lesson,
        md5('instructor' || n / %(each)s)::uuid as instructor,
        md5('upload' || n) || '0123456789' as upload, md5('asset' || n) || '0123456789' as asset,
        md5('playback' || n) || '0123456789' as playback,
        now() - make_interval(days => 2, secs => (%(size)s - n) * 10) as moment,
        n > %(size)s - %(processing)s as waits
      from generate_series(%(first)s::bigint, %(last)s::bigint) n
    ) numbered"""
"""Six lessons a minute until two days ago: five million are a year and a half."""


def fill(admin: psycopg.Connection, size: int) -> None:
    """Fill the empty tables, triggers and foreign keys aside, and vacuum and analyze them."""
    admin.execute("set session_replication_role = replica")
    admin.execute("set maintenance_work_mem = '1GB'")
    for table, statement in ROWS.items():
        indexes = _drop_indexes(admin, table)
        for first in range(1, size + 1, CHUNK):
            numbers = {"size": size, "first": first, "last": min(first + CHUNK - 1, size)}
            shape = {"each": EACH_INSTRUCTORS, "processing": PROCESSING}
            admin.execute((statement + NUMBERED).encode(), {**numbers, **shape})
        for definition in indexes:
            admin.execute(definition.encode())
        admin.execute(f"vacuum (analyze) {table}".encode())
    admin.execute(SCHEDULE.encode())
    admin.execute("vacuum (analyze) mux_private.schedule")
    admin.execute("reset session_replication_role")
    admin.execute("checkpoint")


def _drop_indexes(admin: psycopg.Connection, table: str) -> list[str]:
    """Drop the indexes without a constraint; return the statements that create them again."""
    rows = admin.execute(
        "select indexrelid::regclass::text, pg_get_indexdef(indexrelid) from pg_index "
        "where indrelid = %s::regclass "
        "and indexrelid not in (select conindid from pg_constraint)",
        [table],
    ).fetchall()
    for name, _ in rows:
        admin.execute(sql.SQL("drop index {}").format(sql.SQL(name)))
    return [definition for _, definition in rows]
