-- What it does: makes the enum mux_asset_status and the table mux_asset_tracking, one row a
--   lesson, with the worker's own columns. A table that the app made before is completed and
--   keeps every value.
-- Needs: 001.
-- Locks: an older table, access exclusive while it is written anew with its indexes (some ten
--   seconds for a million rows). A new one: lessons, share row exclusive for a moment (foreign key).
-- Undo: down/002_asset_tracking.sql (drops the table with its rows)

begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;

do $$
declare
  labels text[];
begin
  if to_regtype('public.mux_asset_status') is null then
    create type public.mux_asset_status as enum ('processing', 'ready', 'error');
  end if;
  select array_agg(enumlabel::text order by enumsortorder) into labels
  from pg_enum where enumtypid = 'public.mux_asset_status'::regtype;
  if labels is distinct from array['processing', 'ready', 'error'] then
    raise exception 'type mux_asset_status has the values %, not processing, ready, error', labels
      using hint = 'Another type has this name: rename it, then apply this file again.';
  end if;
end
$$;
comment on type public.mux_asset_status is 'Where a lesson''s upload stands: processing, ready (the lesson has its video) or error.';

create table if not exists public.mux_asset_tracking (
  id uuid default gen_random_uuid() primary key,
  lesson_id uuid not null references public.lessons (id) on delete cascade,
  upload_id text not null,
  temp_asset_id text,
  mux_asset_id text,
  mux_playback_id text,
  status public.mux_asset_status not null default 'processing',
  error_message text,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  unique (lesson_id)
);
alter table public.mux_asset_tracking enable row level security;
alter table public.mux_asset_tracking alter column id set default gen_random_uuid();

-- When a row's upload began was not kept before; its last change is the best that is known. The
-- table is written anew rather than updated: quicker, without dead rows, and no trigger of the
-- app's fires.
do $$
begin
  if not exists (
    select 1 from pg_attribute
    where attrelid = 'public.mux_asset_tracking'::regclass and attname = 'tracked_at' and not attisdropped
  ) then
    alter table public.mux_asset_tracking add column tracked_at timestamptz;
    alter table public.mux_asset_tracking
      alter column tracked_at type timestamptz using updated_at,
      alter column tracked_at set default now(),
      alter column tracked_at set not null;
  end if;
end
$$;

alter table public.mux_asset_tracking
  add column if not exists error_type text,
  -- Counts of looks at one upload, a few thousand at most:
  -- squawk-ignore prefer-bigint-over-int
  add column if not exists check_count integer not null default 0,
  add column if not exists next_check_at timestamptz not null default now(),
  add column if not exists last_checked_at timestamptz,
  add column if not exists missing_since timestamptz,
  -- squawk-ignore prefer-bigint-over-int
  add column if not exists missing_count integer not null default 0,
  add column if not exists settled_at timestamptz,
  add column if not exists recheck_at timestamptz;

-- Not dropped and added again, which would read all rows each time the file is applied.
do $$
declare
  there text[] := array(
    select conname from pg_constraint where conrelid = 'public.mux_asset_tracking'::regclass);
begin
  if not 'looks_are_counted_from_zero' = any (there) then
    alter table public.mux_asset_tracking
      add constraint looks_are_counted_from_zero check (check_count >= 0 and missing_count >= 0);
  end if;
  if not 'what_is_missing_was_looked_for' = any (there) then
    alter table public.mux_asset_tracking
      add constraint what_is_missing_was_looked_for check ((missing_since is null) = (missing_count = 0));
  end if;
end
$$;

create index if not exists idx_mux_asset_tracking_upload_id on public.mux_asset_tracking (upload_id);
create index if not exists idx_mux_asset_tracking_temp_asset_id on public.mux_asset_tracking (temp_asset_id);
create index if not exists idx_mux_asset_tracking_mux_asset_id on public.mux_asset_tracking (mux_asset_id)
  where mux_asset_id is not null;
create index if not exists idx_mux_asset_tracking_due on public.mux_asset_tracking (next_check_at)
  where status = 'processing';
create index if not exists idx_mux_asset_tracking_recheck on public.mux_asset_tracking (recheck_at)
  where recheck_at is not null;

comment on table public.mux_asset_tracking is 'One row a lesson: its current upload to Mux, and how far it is.';
comment on column public.mux_asset_tracking.id is 'Identifies the row.';
comment on column public.mux_asset_tracking.lesson_id is 'The lesson that waits for the video.';
comment on column public.mux_asset_tracking.upload_id is 'The Mux direct upload; ''migrated'' where it is not known and the asset is.';
comment on column public.mux_asset_tracking.temp_asset_id is 'The app''s placeholder (temp_…) of this upload. Never an asset id.';
comment on column public.mux_asset_tracking.mux_asset_id is 'The Mux asset, once it is known.';
comment on column public.mux_asset_tracking.mux_playback_id is 'The playback id that was published.';
comment on column public.mux_asset_tracking.status is 'processing, ready or error.';
comment on column public.mux_asset_tracking.error_message is 'Why it failed and what to do, in sentences for the instructor.';
comment on column public.mux_asset_tracking.error_type is 'Why it failed, in one word: asset_errored, upload_timed_out, gave_up … On a processing row: refused, the database would not take the last verdict. On a ready row: playback_ids_withdrawn or asset_deleted, its video can no longer be played.';
comment on column public.mux_asset_tracking.created_at is 'When the row was made.';
comment on column public.mux_asset_tracking.updated_at is 'When its status or its ids last changed.';
comment on column public.mux_asset_tracking.tracked_at is 'When this upload began to be tracked; all ages are counted from here.';
comment on column public.mux_asset_tracking.check_count is 'How often Mux was asked about this upload.';
comment on column public.mux_asset_tracking.next_check_at is 'When the row falls due, while it is processing.';
comment on column public.mux_asset_tracking.last_checked_at is 'When Mux was last asked about it.';
comment on column public.mux_asset_tracking.missing_since is 'Since when Mux has not known it, or has had no usable playback id for it.';
comment on column public.mux_asset_tracking.missing_count is 'How many looks in a row found it missing.';
comment on column public.mux_asset_tracking.settled_at is 'When it became ready or failed.';
comment on column public.mux_asset_tracking.recheck_at is 'When a ready row is to be looked at once more, because Mux seems to list its playback id no longer.';

insert into mux_private.applied_files (name) values ('002_asset_tracking') on conflict do nothing;

commit;
