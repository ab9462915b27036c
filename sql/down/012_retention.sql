-- Undoes ../012_retention.sql. Stop the workers first.
begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;
drop function if exists public.worker_prune_events;
drop function if exists mux_private.prune_events;
delete from mux_private.applied_files where name = '012_retention';
commit;
notify pgrst, 'reload schema';
