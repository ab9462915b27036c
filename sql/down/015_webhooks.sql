-- Undoes ../015_webhooks.sql. Stop the workers first.
begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;
drop function if exists public.worker_note_events;
drop function if exists public.worker_take_note;
drop function if exists mux_private.note_fact;
delete from mux_private.applied_files where name = '015_webhooks';
commit;
notify pgrst, 'reload schema';
