-- What it does: makes the counts for the worker's log, and the newest file applied: worker_summary and
--   worker_schema_version.
-- Needs: 036, 071.
-- Locks: none.
-- Undo: down/102_reports.sql

begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;

-- By index, whatever the planner thought of the table when this connection began.
create or replace function mux_private.failed_count() returns bigint
language plpgsql stable set search_path = public, extensions, pg_temp set enable_seqscan = off set jit = off as $$
begin
  return (select count(*) from public.mux_asset_tracking f where f.status = 'error');
end
$$;
comment on function mux_private.failed_count() is 'How many rows have failed.';

create or replace function mux_private.unplayable_count() returns bigint
language plpgsql stable set search_path = public, extensions, pg_temp set enable_seqscan = off set jit = off as $$
begin
  return (
    select count(*) from public.mux_asset_tracking u
    where u.status = 'ready' and u.error_type is not null and mux_private.is_unplayable(u));
end
$$;
comment on function mux_private.unplayable_count() is 'How many rows are ready with a video that can no longer be played.';

-- What waits is counted from the schedule, which holds no settled row; failed and unplayable rows, which
-- rarely change, by their indexes. What is ready, nearly the whole table, is not counted, since that
-- would read it all.
create or replace function public.worker_summary() returns jsonb
language plpgsql stable set search_path = public, extensions, pg_temp as $$
begin
  return (
    select jsonb_build_object(
      'processing', count(*) filter (where not s.is_recheck),
      'due', count(*) filter (where s.next_check_at <= now()),
      'stuck', count(*) filter (where not s.is_recheck and s.tracked_at < now() - interval '30 minutes'),
      'error', mux_private.failed_count(),
      'unplayable', mux_private.unplayable_count(),
      'oldest_due_seconds', extract(epoch from now() - min(s.next_check_at) filter (where s.next_check_at <= now())),
      'oldest_processing_seconds', extract(epoch from now() - min(s.tracked_at) filter (where not s.is_recheck)))
    from mux_private.schedule s);
end
$$;
comment on function public.worker_summary() is
  'For the worker: how many rows are processing, due, stuck (processing for over half an hour), failed and unplayable, and the age in seconds of the oldest. Does not count what is ready.';

-- 090 and 092 are for the app: an app may do without them. A claim with nothing due does not read the
-- tracking table, so what notices that it is gone is this.
create or replace function mux_private.missing_files() returns text[]
language sql stable set search_path = public, extensions, pg_temp
return (
  select coalesce(array_agg(n.name order by n.name), '{}')
  from unnest(array[
    '010_preconditions', '020_lessons_check', '022_lessons_read', '024_lessons_write', '030_tracking',
    '031_tracking_indexes', '032_audit', '034_upload_history', '036_schedule', '040_access',
    '050_names', '052_tracking_triggers', '054_history', '056_scheduling', '058_earlier_uploads',
    '060_claim', '070_facts', '071_match', '072_settle_row', '074_recheck', '076_settle',
    '078_webhooks', '080_adoption', '081_restore', '082_adopt', '084_backfill', '086_untracked', '100_operate',
    '102_reports', '103_lists', '104_overview', '110_rate_limit', '120_retention', '130_doctor', '900_grants',
    '910_snapshot'
  ]) n (name)
  where not exists (select from mux_private.applied_files f where f.name = n.name)
     or n.name = '030_tracking' and to_regclass('public.mux_asset_tracking') is null
);
comment on function mux_private.missing_files() is 'The files of sql/ that the worker needs and that are not applied, or whose table is gone.';

create or replace function public.worker_schema_version() returns bigint
language sql stable set search_path = public, extensions, pg_temp
return (select max(f.schema_version) from mux_private.applied_files f where mux_private.missing_files() = '{}');
comment on function public.worker_schema_version() is
  'For the worker: the version of sql/ that was applied; null where the worker needs a file that is not applied.';

insert into mux_private.applied_files (name) values ('102_reports') on conflict do nothing;

commit;
