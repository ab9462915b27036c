-- What it does: makes the audit table mux_asset_events and the one function that writes to it.
-- Needs: 002.
-- Locks: none that anybody waits for.
-- Undo: down/003_audit.sql (drops the table with its rows)

begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;

create table if not exists public.mux_asset_events (
  id bigint generated always as identity primary key,
  happened_at timestamptz not null default now(),
  actor text not null,
  event text not null,
  lesson_id uuid not null,
  tracking_id uuid not null,
  creator_id uuid,
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
alter table public.mux_asset_events enable row level security;

create index if not exists idx_mux_asset_events_lesson_id on public.mux_asset_events (lesson_id, id);
create index if not exists idx_mux_asset_events_happened_at on public.mux_asset_events using brin (happened_at);

comment on table public.mux_asset_events is 'The audit: what happened to each tracking row, written in the transaction that did it. Outlives row and lesson.';
comment on column public.mux_asset_events.id is 'Grows with time.';
comment on column public.mux_asset_events.happened_at is 'When the transaction began.';
comment on column public.mux_asset_events.actor is 'Who: a user''s id, the operator of a command, else the role of the token, else the database user.';
comment on column public.mux_asset_events.event is 'tracked, or the outcome: published, attached, updated, unplayable, failed, waiting, refused; rechecked where a ready row is to be looked at once more; made_due where an operator had it looked at again.';
comment on column public.mux_asset_events.lesson_id is 'The lesson; no foreign key, so that the audit outlives it.';
comment on column public.mux_asset_events.tracking_id is 'The row of mux_asset_tracking.';
comment on column public.mux_asset_events.creator_id is 'The lesson''s instructor then. Only she reads it: whoever makes a lesson may choose its id, also that of a deleted one.';
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
language sql stable set search_path = public, extensions, pg_temp
return coalesce(
  nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub',
  case when nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'role' = 'service_role'
    then 'operator ' || nullif(current_setting('mux_worker.operator', true), '') end,
  nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'role',
  session_user
);
comment on function mux_private.actor() is 'Who asks: the user''s id, else the operator that the worker names, else the role of the token, else the database user.';

-- Security definer: nobody may insert into the audit but through this function.
create or replace function mux_private.record_event(
  event text,
  tracking public.mux_asset_tracking,
  from_status public.mux_asset_status default null,
  lesson_from_status text default null,
  lesson_to_status text default null,
  reason text default null,
  message text default null,
  observation jsonb default null
) returns void
language plpgsql security definer set search_path = public, extensions, pg_temp as $$
begin
  insert into public.mux_asset_events (
    actor, event, lesson_id, tracking_id, creator_id, upload_id, asset_id, playback_id,
    from_status, to_status, lesson_from_status, lesson_to_status, reason, message, observation
  ) values (
    mux_private.actor(), $1, $2.lesson_id, $2.id,
    (select l.creator_id from public.lessons l where l.id = $2.lesson_id),
    left($2.upload_id, 255), left($2.mux_asset_id, 255), left($2.mux_playback_id, 255), $3, $2.status, $4, $5, $6,
    coalesce($7, nullif(current_setting('mux_worker.why', true), '')), $8
  );
end
$$;
comment on function mux_private.record_event is 'Writes one audit row about a tracking row as it is now.';

revoke execute on function mux_private.actor() from public, anon, authenticated;
revoke execute on function mux_private.record_event from public, anon, authenticated;
grant execute on function mux_private.actor() to service_role;
grant execute on function mux_private.record_event to service_role;

insert into mux_private.applied_files (name) values ('003_audit') on conflict do nothing;

commit;
