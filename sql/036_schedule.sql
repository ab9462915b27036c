-- What it does: makes the table of the schedule, which says when to look at which row, and the
--   state that all workers share.
-- Needs: 010.
-- Locks: none. Applied again: both tables, access exclusive for a moment.
-- Undo: down/036_schedule.sql (drops both tables with their rows)

begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;

-- Polling writes this table, and none of the app's. It has no index but the primary key, and half of
-- each page is free: then an update finds room beside its row, and changes no index (HOT). The claim
-- reads the whole table, which holds only what waits. No foreign key: a row that is written twice in a
-- transaction would be checked again, and wait for a lesson that is being deleted, while that delete
-- waits for the row.
create table if not exists mux_private.schedule (
  tracking_id uuid primary key,
  owner text,
  tracked_at timestamptz not null default now(),
  is_recheck boolean not null default false,
  is_backlog boolean not null default false,
  next_check_at timestamptz not null default now(),
  -- Counts of looks at one upload, a few thousand at most:
  -- squawk-ignore prefer-bigint-over-int
  check_count integer not null default 0,
  last_checked_at timestamptz,
  missing_since timestamptz,
  -- squawk-ignore prefer-bigint-over-int
  missing_count integer not null default 0,
  progress double precision
) with (fillfactor = 50);
call mux_private.keep_check(
  'mux_private.schedule', 'looks_are_counted_from_zero', 'check_count >= 0 and missing_count >= 0');
call mux_private.keep_check(
  'mux_private.schedule', 'what_is_missing_was_looked_for', '(missing_since is null) = (missing_count = 0)');
comment on table mux_private.schedule is 'When to look at each tracking row that is processing, and at a ready one that is to be looked at once more. Triggers on mux_asset_tracking make and remove its rows.';
comment on column mux_private.schedule.tracking_id is 'The row of mux_asset_tracking.';
comment on column mux_private.schedule.owner is 'The lesson''s owner when the row was made: owners take turns.';
comment on column mux_private.schedule.tracked_at is 'When the upload began to be tracked, so that what waits is counted without reading the app''s table.';
comment on column mux_private.schedule.is_recheck is 'Whether the row is ready, and is to be looked at once more because Mux seems to list its playback id no longer.';
comment on column mux_private.schedule.is_backlog is 'Whether a backfill entered the row: live ones come first.';
comment on column mux_private.schedule.next_check_at is 'When the row falls due; while a worker has it, when its lease ends.';
comment on column mux_private.schedule.check_count is 'How often Mux was asked about this upload.';
comment on column mux_private.schedule.last_checked_at is 'When Mux was last asked about it.';
comment on column mux_private.schedule.missing_since is 'Since when Mux has not known it, or has had no usable playback id for it.';
comment on column mux_private.schedule.missing_count is 'How many looks in a row found it missing.';
comment on column mux_private.schedule.progress is 'How far Mux is with encoding it, in per cent, as Mux said last; null where it said nothing.';
alter table mux_private.schedule enable row level security;

create table if not exists mux_private.worker_state (
  only_row boolean primary key default true,
  environment_id text,
  environment_seen_at timestamptz,
  leader text,
  leads_until timestamptz,
  events_at timestamptz,
  backfill_begun_at timestamptz
);
call mux_private.keep_check('mux_private.worker_state', 'there_is_one_row', 'only_row');
comment on table mux_private.worker_state is 'What all workers of this database must agree on. One row.';
comment on column mux_private.worker_state.only_row is 'Always true.';
comment on column mux_private.worker_state.environment_id is 'The Mux environment in which our ids were last found.';
comment on column mux_private.worker_state.environment_seen_at is 'When that environment was first found to hold them.';
comment on column mux_private.worker_state.leader is 'The worker that looks for all: it alone is given due rows.';
comment on column mux_private.worker_state.leads_until is 'When the leader''s lease ends, unless it claims again.';
comment on column mux_private.worker_state.events_at is 'When a webhook of our Mux environment, or about a row of ours, last reported an upload or asset, accurate to some seconds.';
comment on column mux_private.worker_state.backfill_begun_at is 'When the backfill began that has not ended; null where there is none.';
alter table mux_private.worker_state enable row level security;
insert into mux_private.worker_state default values on conflict do nothing;

insert into mux_private.applied_files (name) values ('036_schedule') on conflict do nothing;

commit;
