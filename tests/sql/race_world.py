"""What a race left behind: all of it, without the clock and made-up ids, and what must hold."""

import psycopg

from tests.sql.service import Json

# Each lesson with its row, its audit and its upload history (but what uploads
# became, which a settle keeps also of a row that it passes over). A row is due
# at once, within the five seconds of a busy one, or later.
WORLD = """
    select coalesce(jsonb_object_agg(known.id, jsonb_build_object(
      'lesson', (
        select to_jsonb(l) - '{created_at,updated_at}'::text[]
        from lessons l where l.id = known.id),
      'row', (
        select to_jsonb(t) - '{id,created_at,updated_at,tracked_at,settled_at}'::text[]
          || jsonb_build_object(
            'looked_at', s.last_checked_at is not null, 'missing', s.missing_since is not null,
            'checks', s.check_count, 'settled', t.settled_at is not null, 'due', case
              when s.next_check_at <= clock_timestamp() then 'now'
              when s.next_check_at <= clock_timestamp() + interval '5 s' then 'soon'
              when s.next_check_at is not null then 'later' end)
        from mux_asset_tracking t left join mux_private.schedule s on s.tracking_id = t.id
        where t.lesson_id = known.id),
      'audit', (
        select jsonb_agg((to_jsonb(e) - '{id,happened_at,tracking_id}'::text[])
          #- '{observation,looked_before}' order by e.id)
        from mux_asset_events e where e.lesson_id = known.id),
      'history', (
        select jsonb_agg(
          to_jsonb(h) - '{id,place,tracking_id,restored_at,heard_at}'::text[]
            - '{asset_id,asset_id_written,is_known}'::text[]
          || jsonb_build_object('restored', restored_at is not null) order by place)
        from mux_private.upload_history h where h.lesson_id = known.id))), '{}')
    from (select id from lessons union select lesson_id from mux_asset_events) known
"""

# Each is a sentence that says what went wrong, and finds where.
BROKEN = {
    "a published lesson does not play what its ready row says": """
        select from lessons l join mux_asset_tracking t on t.lesson_id = l.id
        where l.status = 'published' and t.status = 'ready'
          and (l.mux_asset_id, l.mux_playback_id)
              is distinct from (t.mux_asset_id, t.mux_playback_id)
    """,
    "a ready row lacks an id": """
        select from mux_asset_tracking
        where status = 'ready' and (mux_asset_id is null or mux_playback_id is null)
    """,
    "an upload was settled that the row no longer tracked": """
        select from mux_asset_events e
        where e.event in ('published', 'attached', 'failed') and e.reason <> 'by_hand'
          and e.upload_id <> (
            select before.upload_id from mux_asset_events before
            where before.lesson_id = e.lesson_id and before.event = 'tracked' and before.id < e.id
            order by before.id desc limit 1)
    """,
    "a published lesson has no audit of it": """
        select from lessons l
        where l.status = 'published' and not exists (
          select from mux_asset_events e where e.lesson_id = l.id and e.event = 'published')
    """,
    "a draft was published twice": """
        select from mux_asset_events e
        where e.event = 'published' and e.lesson_from_status = 'draft'
        group by e.lesson_id having count(*) > 1
    """,
    "a row was settled before it was tracked, or changed in the future": """
        select from mux_asset_tracking
        where tracked_at > settled_at or updated_at > clock_timestamp()
    """,
    "a row that waits is neither due nor leased": """
        select from mux_private.schedule where next_check_at > clock_timestamp() + interval '60 s'
    """,
    "the schedule is not that of the rows that wait": """
        select from mux_private.schedule s full join mux_asset_tracking t on t.id = s.tracking_id
        where t.id is null or (t.status = 'processing') <> (s.tracking_id is not null)
          or s.tracked_at is distinct from case when s.tracking_id is not null then t.tracked_at end
    """,
    "a row that waits is marked as settled": """
        select from mux_asset_tracking
        where status = 'processing'
          and (settled_at is not null or coalesce(error_type, 'refused') <> 'refused')
    """,
    "an upload is tracked that no history of its lesson knows": """
        select from mux_asset_tracking t
        where t.upload_id <> 'migrated' and not exists (
          select from mux_private.upload_history h
          where h.lesson_id = t.lesson_id and h.mux_id = t.upload_id and h.how = 'tracked')
    """,
}
ALL_BROKEN = "select array_remove(array[{}], null)".format(
    ", ".join(f"case when exists ({query}) then '{name}' end" for name, query in BROKEN.items())
)


def read(watcher: psycopg.Connection) -> Json:
    """Give all that is known of each lesson, by its id."""
    row = watcher.execute(WORLD.encode()).fetchone()
    assert row is not None
    world: Json = row[0]
    return world


def find_broken(watcher: psycopg.Connection) -> list[str]:
    """Give the sentences of what must never be and is."""
    row = watcher.execute(ALL_BROKEN.encode()).fetchone()
    assert row is not None
    broken: list[str] = row[0]
    return broken
