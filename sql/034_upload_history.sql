-- What it does: makes the table of the upload history, which says which upload of a lesson is the
--   newest and whose a video is, and a trigger that closes the entries of a deleted lesson.
-- Needs: 024, 030.
-- Locks: the app's table of lessons, share row exclusive for a moment (trigger). Applied again: also
--   the upload history, access exclusive for a moment.
-- Undo: down/034_upload_history.sql (drops the table with its rows)

begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;

create sequence if not exists mux_private.upload_places;
comment on sequence mux_private.upload_places is 'The order in which ids began to count for a lesson.';

-- An entry without a lesson says whose a video is, and no longer which upload is the newest. No
-- foreign key: an upsert that holds its tracking row would wait for a lesson that is being deleted,
-- while that delete waits for the row.
create table if not exists mux_private.upload_history (
  id bigint generated always as identity primary key,
  like mux_private.lesson_key,
  owner text,
  mux_id text not null,
  mux_id_written text not null generated always as (regexp_replace(mux_id, '[^A-Za-z0-9]', '_', 'g')) stored,
  asset_id text,
  asset_id_written text generated always as (regexp_replace(asset_id, '[^A-Za-z0-9]', '_', 'g')) stored,
  playback_id text,
  how text not null,
  place bigint not null default nextval('mux_private.upload_places'),
  tracking_id uuid,
  is_known boolean not null default false,
  is_deleted boolean not null default false,
  is_withdrawn boolean not null default false,
  was_published boolean not null default false,
  restored_at timestamptz,
  adopted_in timestamptz,
  heard_at timestamptz not null default now(),
  constraint a_lesson_hears_of_an_id_once unique (lesson_id, mux_id_written)
);
call mux_private.keep_check(
  'mux_private.upload_history', 'it_is_known_how_it_was_heard_of',
  $$how in ('tracked', 'stood there', 'disputed', 'passed over')$$);
alter sequence mux_private.upload_places owned by mux_private.upload_history.place;
create index if not exists upload_history_mux_id on mux_private.upload_history (mux_id_written, id);
create index if not exists upload_history_asset_id on mux_private.upload_history (asset_id_written, id)
  where asset_id_written is not null;
create index if not exists upload_history_unknown on mux_private.upload_history (heard_at) where not is_known;
create index if not exists upload_history_backfill on mux_private.upload_history (adopted_in, lesson_id)
  where adopted_in is not null;
comment on table mux_private.upload_history is 'Every Mux id that was tracked for a lesson, or stood in its columns when an upload began to be tracked. Says which upload of a lesson is the newest, and whose a video is. Outlives tracking row and lesson.';
comment on column mux_private.upload_history.id is 'The order in which the database first heard of an id: the first entry of a video says whose it is.';
comment on column mux_private.upload_history.lesson_id is 'The lesson; null once it is deleted, and for what stood in a lesson that did not track it.';
comment on column mux_private.upload_history.owner is 'The instructor: the lesson''s owner at that time.';
comment on column mux_private.upload_history.mux_id is 'The id of the upload; of the asset where its upload was not known; of either where a placeholder named it.';
comment on column mux_private.upload_history.mux_id_written is 'The same as a placeholder writes it.';
comment on column mux_private.upload_history.asset_id is 'The asset that the upload became, once that is known.';
comment on column mux_private.upload_history.asset_id_written is 'The same as a placeholder writes it.';
comment on column mux_private.upload_history.playback_id is 'The playback id by which the lesson played it.';
comment on column mux_private.upload_history.how is 'tracked; stood there: in the lesson''s columns when another upload began to be tracked; passed over: named by the columns, and unknown to Mux or another instructor''s, which holds for an hour; disputed: lessons of several instructors held it at install, so it says nothing about whose it is.';
comment on column mux_private.upload_history.place is 'The order in which the ids of a lesson count: the newest is its current upload.';
comment on column mux_private.upload_history.tracking_id is 'The row of mux_asset_tracking that tracked it last.';
comment on column mux_private.upload_history.is_known is 'Whether Mux has known the id, or a lesson held it with a playback id.';
comment on column mux_private.upload_history.is_deleted is 'Whether Mux has said that the asset was deleted.';
comment on column mux_private.upload_history.is_withdrawn is 'Whether Mux has ceased to list the playback id, and has not listed one again.';
comment on column mux_private.upload_history.was_published is 'Whether the lesson was published while it played it.';
comment on column mux_private.upload_history.restored_at is 'When the lesson was published with it again, after the app had saved it as a draft. Once for each upload: a later draft is meant.';
comment on column mux_private.upload_history.adopted_in is 'The last backfill that adopted it, or found it tracked, by the time at which that began.';
comment on column mux_private.upload_history.heard_at is 'When the database first heard of it.';
alter table mux_private.upload_history enable row level security;

do $$
begin
  execute format(
    'create or replace trigger close_upload_history after delete on %s for each row execute function mux_private.close_upload_history()',
    mux_private.lessons_table());
end
$$;

insert into mux_private.applied_files (name) values ('034_upload_history') on conflict do nothing;

commit;
