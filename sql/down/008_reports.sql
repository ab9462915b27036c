-- Undoes ../008_reports.sql. Stop the workers first.
begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;
drop function if exists public.worker_schema_version();
drop function if exists mux_private.newest_file();
drop function if exists public.worker_summary();
-- squawk-ignore require-concurrent-index-deletion
drop index if exists public.idx_mux_asset_tracking_failed;
delete from mux_private.applied_files where name = '008_reports';
commit;
notify pgrst, 'reload schema';
