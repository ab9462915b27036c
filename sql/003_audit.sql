-- What it does: makes the audit table mux_asset_events and the one function that writes to it, and
--   the table of the upload history, whose entries for a lesson a trigger closes when it is deleted.
-- Needs: 002.
-- Locks: lessons, share row exclusive for a moment (trigger).
-- Undo: down/003_audit.sql (drops both tables with their rows)

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
comment on column public.mux_asset_events.event is 'tracked, or the outcome: published, attached, restored, updated, unplayable, failed, waiting, refused; rechecked where a ready row is to be looked at once more; made_due where an operator had it looked at again.';
comment on column public.mux_asset_events.lesson_id is 'The lesson; no foreign key, so that the audit outlives it.';
comment on column public.mux_asset_events.tracking_id is 'The row of mux_asset_tracking.';
comment on column public.mux_asset_events.creator_id is 'The lesson''s instructor then. Only this user reads it: a user who creates a lesson may choose its id, also that of a deleted lesson.';
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
    case when claims ->> 'role' = 'service_role' then 'operator ' || nullif(current_setting('mux_worker.operator', true), '') end,
    claims ->> 'role',
    session_user);
end
$$;
comment on function mux_private.actor() is 'Who asks: the user''s id, else the operator that the worker names, else the role of the token, else the database user.';

-- Security definer: this function is the only way to insert into the audit.
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

create sequence if not exists mux_private.upload_places;
comment on sequence mux_private.upload_places is 'The order in which ids began to count for a lesson.';
revoke all on sequence mux_private.upload_places from public, anon, authenticated, service_role;

-- An entry without a lesson says whose a video is, and no longer which upload is the newest. No
-- foreign key: an upsert that holds its tracking row would wait for a lesson that is being deleted,
-- while that delete waits for the row.
create table if not exists mux_private.upload_history (
  id bigint generated always as identity primary key,
  lesson_id uuid,
  owner uuid,
  mux_id text not null,
  mux_id_written text not null generated always as (regexp_replace(mux_id, '[^A-Za-z0-9]', '_', 'g')) stored,
  asset_id text,
  asset_id_written text generated always as (regexp_replace(asset_id, '[^A-Za-z0-9]', '_', 'g')) stored,
  playback_id text,
  how text not null constraint it_is_known_how_it_was_heard_of check (how in ('tracked', 'stood there', 'passed over')),
  place bigint not null default nextval('mux_private.upload_places'),
  tracking_id uuid,
  is_known boolean not null default false,
  is_deleted boolean not null default false,
  was_published boolean not null default false,
  restored_at timestamptz,
  heard_at timestamptz not null default now(),
  constraint a_lesson_hears_of_an_id_once unique (lesson_id, mux_id_written)
);
alter sequence mux_private.upload_places owned by mux_private.upload_history.place;
create index if not exists upload_history_mux_id on mux_private.upload_history (mux_id_written, id);
create index if not exists upload_history_asset_id on mux_private.upload_history (asset_id_written, id)
  where asset_id_written is not null;
create index if not exists upload_history_unknown on mux_private.upload_history (heard_at) where not is_known;
comment on table mux_private.upload_history is 'Every Mux id that was tracked for a lesson, or stood in its columns when an upload began to be tracked. Says which upload of a lesson is the newest, and whose a video is. Outlives tracking row and lesson.';
comment on column mux_private.upload_history.id is 'The order in which the database first heard of an id: the first entry of a video says whose it is.';
comment on column mux_private.upload_history.lesson_id is 'The lesson; null once it is deleted, and for what stood in a lesson that did not track it.';
comment on column mux_private.upload_history.owner is 'The instructor: lessons.creator_id at that time.';
comment on column mux_private.upload_history.mux_id is 'The id of the upload; of the asset where its upload was not known; of either where a placeholder named it.';
comment on column mux_private.upload_history.mux_id_written is 'The same as a placeholder writes it.';
comment on column mux_private.upload_history.asset_id is 'The asset that the upload became, once that is known.';
comment on column mux_private.upload_history.asset_id_written is 'The same as a placeholder writes it.';
comment on column mux_private.upload_history.playback_id is 'The playback id by which the lesson played it.';
comment on column mux_private.upload_history.how is 'tracked; stood there: in the lesson''s columns when another upload began to be tracked; passed over: named by the columns, and unknown to Mux or another instructor''s, which holds for an hour.';
comment on column mux_private.upload_history.place is 'The order in which the ids of a lesson count: the newest is its current upload.';
comment on column mux_private.upload_history.tracking_id is 'The row of mux_asset_tracking that tracked it last.';
comment on column mux_private.upload_history.is_known is 'Whether Mux has known the id, or a lesson held it with a playback id.';
comment on column mux_private.upload_history.is_deleted is 'Whether Mux has said that the asset was deleted.';
comment on column mux_private.upload_history.was_published is 'Whether the lesson was published while it played it.';
comment on column mux_private.upload_history.restored_at is 'When the lesson was published with it again, after the app had saved it as a draft. Once for each upload: a later draft is meant.';
comment on column mux_private.upload_history.heard_at is 'When the database first heard of it.';
alter table mux_private.upload_history enable row level security;
revoke all on mux_private.upload_history from public, anon, authenticated, service_role;

-- Security definer: who deletes a lesson may not write the history.
create or replace function mux_private.close_upload_history() returns trigger
language plpgsql security definer set search_path = public, extensions, pg_temp as $$
begin
  update mux_private.upload_history h set lesson_id = null where h.lesson_id = old.id;
  return null;
end
$$;
comment on function mux_private.close_upload_history is 'Trigger: closes the upload history of a lesson that is deleted.';
revoke execute on function mux_private.close_upload_history() from public, anon, authenticated, service_role;

create or replace trigger close_upload_history
  after delete on public.lessons for each row
  execute function mux_private.close_upload_history();

insert into mux_private.applied_files (name) values ('003_audit') on conflict do nothing;

commit;
