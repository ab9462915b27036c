-- What it does: makes the counts for the worker's log and for the command status, and the newest file
--   applied: worker_summary, worker_status and worker_schema_version.
-- Needs: 032, 036.
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

-- What waits is counted from the schedule, which holds no settled row, and failed rows, which rarely
-- change, from their index alone. What is ready, nearly the whole table, is not counted, since that
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
      'oldest_due_seconds', extract(epoch from now() - min(s.next_check_at) filter (where s.next_check_at <= now())),
      'oldest_processing_seconds', extract(epoch from now() - min(s.tracked_at) filter (where not s.is_recheck)))
    from mux_private.schedule s);
end
$$;
comment on function public.worker_summary() is
  'For the worker: how many rows are processing, due, stuck (processing for over half an hour) and failed, and the age in seconds of the oldest. Does not count what is ready.';

-- How long a ready video waited is known as an upper limit only: since the look before, which found
-- it not ready.
create or replace function public.worker_status() returns jsonb
language sql stable set search_path = public, extensions, pg_temp
return public.worker_summary() || jsonb_build_object(
  'ready', (select count(*) from public.mux_asset_tracking t where t.status = 'ready'),
  'ready_to_published', (
    select jsonb_build_object(
      'count', count(*),
      'p50', percentile_cont(0.5) within group (order by w.seconds),
      'p95', percentile_cont(0.95) within group (order by w.seconds),
      'p99', percentile_cont(0.99) within group (order by w.seconds))
    from (
      select extract(epoch from e.happened_at - (e.observation ->> 'looked_before')::timestamptz)::double precision as seconds
      from public.mux_asset_events e
      where e.happened_at > now() - interval '1 day' and e.event in ('published', 'attached')
        and e.observation ? 'looked_before'
    ) w
  ),
  'failures', (
    select coalesce(jsonb_agg(to_jsonb(f) order by f.last_seconds), '[]')
    from (
      select coalesce(t.error_type, 'unknown') as error_type, count(*) as count,
        extract(epoch from now() - max(coalesce(t.settled_at, t.updated_at))) as last_seconds,
        (array_agg(t.lesson_id::text order by coalesce(t.settled_at, t.updated_at) desc))[1] as last_lesson_id,
        (array_agg(left(t.error_message, 300) order by coalesce(t.settled_at, t.updated_at) desc))[1] as last_message
      from public.mux_asset_tracking t
      where t.status = 'error'
      group by 1
    ) f
  )
);
comment on function public.worker_status() is
  'For the worker''s command status: worker_summary, the seconds from ready to published of the last day (at most: since the look before), and the failures by type with the latest of each.';

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
    '102_reports', '104_overview', '110_rate_limit', '120_retention', '130_doctor', '900_grants',
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
