-- What it does: makes what the worker asks the database about itself: worker_summary and
--   worker_schema_version.
-- Needs: 002.
-- Locks: none.
-- Undo: down/008_reports.sql

begin;
set local lock_timeout = '5s';

create or replace function public.worker_summary() returns jsonb
language sql stable set search_path = ''
return (
  select jsonb_build_object(
    'processing', count(*) filter (where t.status = 'processing'),
    'ready', count(*) filter (where t.status = 'ready'),
    'error', count(*) filter (where t.status = 'error'),
    'due', count(*) filter (where t.status = 'processing' and t.next_check_at <= now()),
    'stuck', count(*) filter (where t.status = 'processing' and t.tracked_at < now() - interval '30 minutes'),
    'oldest_due_seconds', extract(epoch from now() - min(t.next_check_at)
      filter (where t.status = 'processing' and t.next_check_at <= now())),
    'oldest_processing_seconds', extract(epoch from now() - min(t.tracked_at) filter (where t.status = 'processing'))
  )
  from public.mux_asset_tracking t
);
comment on function public.worker_summary() is
  'For the worker: rows by status, how many are due and stuck (processing for over half an hour), and the age in seconds of the oldest.';

-- Security definer: the list of files is nobody's to read, its newest name is the worker's.
create or replace function mux_private.newest_file() returns text
language sql stable security definer set search_path = ''
return (select max(f.name) from mux_private.applied_files f);
comment on function mux_private.newest_file() is 'The last file of sql/ that was applied.';

create or replace function public.worker_schema_version() returns text
language sql stable set search_path = ''
return mux_private.newest_file();
comment on function public.worker_schema_version() is
  'For the worker: the last file of sql/ that was applied, such as 008_reports.';

revoke execute on function public.worker_summary() from public, anon, authenticated;
revoke execute on function mux_private.newest_file() from public, anon, authenticated;
revoke execute on function public.worker_schema_version() from public, anon, authenticated;
grant execute on function public.worker_summary() to service_role;
grant execute on function mux_private.newest_file() to service_role;
grant execute on function public.worker_schema_version() to service_role;

insert into mux_private.applied_files (name) values ('008_reports') on conflict do nothing;

commit;
