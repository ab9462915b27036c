"""Have the database itself record each change of a lesson, its row, its audit and its schedule.

The triggers run in the transaction of the change, so what one transaction did stands together.
"""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import class_row

from sandbox.supabase.stack import LocalSupabase

Json = dict[str, Any]

KINDS = ("lesson", "row", "event", "schedule")
WORKER_ROLES = ("service_role", "mux_worker")

TRIGGERS = b"""
create schema chaos;

create table chaos.journal (
  id bigint generated always as identity primary key,
  at double precision not null,
  transaction text not null,
  actor text not null,
  call text,
  kind text not null,
  lesson uuid,
  tracking uuid,
  old jsonb,
  new jsonb,
  beside jsonb
);

create function chaos.note(
  kind text, lesson uuid, tracking uuid, old jsonb, new jsonb, beside jsonb
) returns void language sql as $$
  insert into chaos.journal (at, transaction, actor, call, kind, lesson, tracking, old, new, beside)
  values (
    -- A lease counts from the beginning of its transaction.
    extract(epoch from case when $1 = 'schedule' then now() else clock_timestamp() end),
    pg_current_xact_id()::text, current_setting('role'),
    substring(current_query() from 'worker_[a-z_]+'), $1, $2, $3, $4, $5, $6)
$$;

create function chaos.lesson(l public.lessons) returns jsonb language sql as $$
  select case when l.id is not null then jsonb_build_object(
    'status', l.status, 'asset', l.mux_asset_id, 'playback', l.mux_playback_id) end
$$;

create function chaos.tracked(t public.mux_asset_tracking) returns jsonb language sql as $$
  select case when t.id is not null then jsonb_build_object(
    'upload', t.upload_id, 'status', t.status,
    'asset', t.mux_asset_id, 'playback', t.mux_playback_id) end
$$;

create function chaos.note_lesson() returns trigger language plpgsql security definer as $$
declare
  lesson uuid := coalesce(new.id, old.id);
begin
  perform chaos.note('lesson', lesson, null, chaos.lesson(old), chaos.lesson(new),
    (select chaos.tracked(t) from public.mux_asset_tracking t where t.lesson_id = lesson));
  return null;
end
$$;

create function chaos.note_row() returns trigger language plpgsql security definer as $$
declare
  lesson uuid := coalesce(new.lesson_id, old.lesson_id);
begin
  perform chaos.note('row', lesson, coalesce(new.id, old.id), chaos.tracked(old),
    chaos.tracked(new), (select chaos.lesson(l) from public.lessons l where l.id = lesson));
  return null;
end
$$;

create function chaos.note_event() returns trigger language plpgsql security definer as $$
begin
  perform chaos.note('event', new.lesson_id, new.tracking_id, null, jsonb_build_object(
    'event', new.event, 'upload', new.upload_id,
    'asset', new.asset_id, 'playback', new.playback_id), null);
  return null;
end
$$;

create function chaos.note_schedule() returns trigger language plpgsql security definer as $$
begin
  perform chaos.note(
    'schedule', null, coalesce(new.tracking_id, old.tracking_id), null, null, null);
  return null;
end
$$;

create trigger chaos_lesson after insert or update or delete on public.lessons
  for each row execute function chaos.note_lesson();
create trigger chaos_row after insert or update or delete on public.mux_asset_tracking
  for each row execute function chaos.note_row();
create trigger chaos_event after insert on public.mux_asset_events
  for each row execute function chaos.note_event();
create trigger chaos_schedule after insert or update or delete on mux_private.schedule
  for each row execute function chaos.note_schedule();
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """One change of one row: when, in which transaction, and by whom.

    `beside` is the row as it was then for a lesson, and the lesson for a row.
    """

    at: float
    transaction: str
    actor: str
    call: str | None
    kind: str
    lesson: UUID | None
    tracking: UUID | None
    old: Json | None
    new: Json | None
    beside: Json | None

    @property
    def is_of_worker(self) -> bool:
        """Whether the worker made it, and not the app."""
        return self.actor in WORKER_ROLES

    def changed(self, *names: str) -> bool:
        """Whether one of these values is another than before."""
        old, new = self.old or {}, self.new or {}
        return any(old.get(name) != new.get(name) for name in names)


def install(supabase: LocalSupabase) -> None:
    """Begin to record."""
    with supabase.connect("supabase_admin") as db:
        db.execute(TRIGGERS)


def read(db: psycopg.Connection, *kinds: str) -> list[Entry]:
    """Return what was recorded of these kinds, in order."""
    with db.cursor(row_factory=class_row(Entry)) as cursor:
        return cursor.execute(
            "select at, transaction, actor, call, kind, lesson, tracking, old, new, beside"
            " from chaos.journal where kind = any (%s) order by id",
            [list(kinds)],
        ).fetchall()
