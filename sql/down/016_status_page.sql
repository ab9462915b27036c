-- Undoes ../016_status_page.sql. Stop the workers first.
begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;
drop function if exists public.worker_make_due;
drop function if exists public.worker_past;
drop function if exists public.worker_overview;
drop function if exists mux_private.overview_row;
drop function if exists mux_private.first_event_since;
delete from mux_private.applied_files where name = '016_status_page';
commit;
notify pgrst, 'reload schema';
