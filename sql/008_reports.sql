-- What it does: makes what the worker asks the database about itself: worker_summary and
--   worker_schema_version, and an index of failed rows.
-- Needs: 002.
-- Locks: mux_asset_tracking, share (no writes) while an index of its failed rows is made.
-- Undo: down/008_reports.sql

begin;
set local lock_timeout = '5s';

-- In a transaction, so not concurrently; the table is read once, and few rows are failed ones.
-- squawk-ignore require-concurrent-index-creation
create index if not exists idx_mux_asset_tracking_failed on public.mux_asset_tracking (settled_at)
  where status = 'error';

-- What waits is counted from the schedule, which holds no settled row, and failed rows, which lie
-- still, from their index alone: a million in about a tenth of a second. What is ready, nearly the
-- whole table, is not counted, since that would take reading it.
create or replace function public.worker_summary() returns jsonb
language plpgsql stable set search_path = public, extensions, pg_temp as $$
begin
  return (
    select jsonb_build_object(
      'processing', count(*) filter (where not s.is_recheck),
      'due', count(*) filter (where s.next_check_at <= now()),
      'stuck', count(*) filter (where not s.is_recheck and s.tracked_at < now() - interval '30 minutes'),
      'error', (select count(*) from public.mux_asset_tracking f where f.status = 'error'),
      'oldest_due_seconds', extract(epoch from now() - min(s.next_check_at) filter (where s.next_check_at <= now())),
      'oldest_processing_seconds', extract(epoch from now() - min(s.tracked_at) filter (where not s.is_recheck)))
    from mux_private.schedule s);
end
$$;
comment on function public.worker_summary() is
  'For the worker: how many rows are processing, due, stuck (processing for over half an hour) and failed, and the age in seconds of the oldest. Does not count what is ready.';

create or replace function public.worker_schema_version() returns text
language sql stable set search_path = public, extensions, pg_temp
return (select max(f.name) from mux_private.applied_files f where f.name < '900');
comment on function public.worker_schema_version() is
  'For the worker: the last file of sql/ that was applied, such as 008_reports; the snapshot apart.';

revoke execute on function public.worker_summary() from public, anon, authenticated;
revoke execute on function public.worker_schema_version() from public, anon, authenticated;
grant execute on function public.worker_summary() to service_role;
grant execute on function public.worker_schema_version() to service_role;

insert into mux_private.applied_files (name) values ('008_reports') on conflict do nothing;

commit;
