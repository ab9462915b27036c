-- What it does: makes the audit table mux_asset_events and the one function that writes to it.
-- Needs: 030.
-- Locks: none. Applied again: mux_asset_events, access exclusive for a moment.
-- Undo: down/032_audit.sql (drops the table with its rows)

begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;

create table if not exists public.mux_asset_events (
  id bigint generated always as identity primary key,
  happened_at timestamptz not null default now(),
  actor text not null,
  event text not null,
  like mux_private.lesson_key,
  tracking_id uuid not null,
  owner text,
  upload_id text,
  asset_id text,
  playback_id text,
  from_status public.mux_asset_status,
  to_status public.mux_asset_status,
  lesson_from_status text,
  lesson_to_status text,
  reason text,
  message text,
  observation jsonb
);
-- The column that "like" makes is nullable. The table is empty then; later there is nothing to check:
-- squawk-ignore adding-not-nullable-field
alter table public.mux_asset_events alter column lesson_id set not null;
alter table public.mux_asset_events enable row level security;

create index if not exists idx_mux_asset_events_lesson_id on public.mux_asset_events (lesson_id, id);
create index if not exists idx_mux_asset_events_happened_at on public.mux_asset_events (happened_at);

comment on table public.mux_asset_events is 'The audit: what happened to each tracking row, written in the transaction of the change. It outlives row and lesson.';
comment on column public.mux_asset_events.id is 'Grows with time.';
comment on column public.mux_asset_events.happened_at is 'When the transaction began.';
comment on column public.mux_asset_events.actor is 'Who: a user''s id, the operator of a command, else the role of the token, else the database user.';
comment on column public.mux_asset_events.event is 'tracked, or the outcome: published, attached, restored, updated, unplayable, failed, waiting, refused; rechecked where a ready row is to be looked at once more; made_due where an operator had it looked at again.';
comment on column public.mux_asset_events.lesson_id is 'The lesson; no foreign key, so that the audit outlives it.';
comment on column public.mux_asset_events.tracking_id is 'The row of mux_asset_tracking.';
comment on column public.mux_asset_events.owner is 'The lesson''s instructor then. Only this user reads it: a user who creates a lesson may choose its id, also that of a deleted lesson.';
comment on column public.mux_asset_events.upload_id is 'The upload that the row tracked then.';
comment on column public.mux_asset_events.asset_id is 'The Mux asset, if it was known.';
comment on column public.mux_asset_events.playback_id is 'The playback id that was published.';
comment on column public.mux_asset_events.from_status is 'The row''s status before; null if it was new.';
comment on column public.mux_asset_events.to_status is 'The row''s status after.';
comment on column public.mux_asset_events.lesson_from_status is 'The lesson''s status before, where it was looked at.';
comment on column public.mux_asset_events.lesson_to_status is 'The lesson''s status after, where it was looked at.';
comment on column public.mux_asset_events.reason is 'Why, in one word.';
comment on column public.mux_asset_events.message is 'Why, in words; Mux''s own or the operator''s where there are some.';
comment on column public.mux_asset_events.observation is 'What Mux had said, with its source.';

create or replace function mux_private.actor() returns text
language plpgsql stable set search_path = public, extensions, pg_temp as $$
declare
  claims jsonb := nullif(current_setting('request.jwt.claims', true), '')::jsonb;
begin
  return coalesce(
    claims ->> 'sub',
    case when claims ->> 'role' in ('service_role', 'mux_worker') then 'operator ' || nullif(current_setting('mux_worker.operator', true), '') end,
    claims ->> 'role',
    session_user);
end
$$;
comment on function mux_private.actor() is 'Who asks: the user''s id, else the operator that the worker names, else the role of the token, else the database user.';

-- Security definer: this function is the only way to insert into the audit.
create or replace function mux_private.record_event(
  p_event text,
  p_tracking public.mux_asset_tracking,
  p_from_status public.mux_asset_status default null,
  p_lesson_from_status text default null,
  p_lesson_to_status text default null,
  p_reason text default null,
  p_message text default null,
  p_observation jsonb default null
) returns void
language plpgsql security definer set search_path = public, extensions, pg_temp as $$
begin
  insert into public.mux_asset_events (
    actor, event, lesson_id, tracking_id, owner, upload_id, asset_id, playback_id,
    from_status, to_status, lesson_from_status, lesson_to_status, reason, message, observation
  ) values (
    mux_private.actor(), p_event, p_tracking.lesson_id, p_tracking.id, mux_private.owner_of(p_tracking.lesson_id),
    left(p_tracking.upload_id, 255), left(p_tracking.mux_asset_id, 255), left(p_tracking.mux_playback_id, 255),
    p_from_status, p_tracking.status, p_lesson_from_status, p_lesson_to_status, p_reason,
    coalesce(p_message, nullif(current_setting('mux_worker.why', true), '')), p_observation
  );
end
$$;
comment on function mux_private.record_event is 'Writes one audit row about a tracking row as it is now.';

insert into mux_private.applied_files (name) values ('032_audit') on conflict do nothing;

commit;
