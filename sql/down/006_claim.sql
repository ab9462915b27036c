-- Undoes ../006_claim.sql. Stop the workers first.
begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;
drop function if exists public.worker_release;
drop function if exists public.worker_claim;
drop function if exists mux_private.may_sweep;
drop function if exists mux_private.is_left_to_events;
drop function if exists mux_private.events_arrive();
drop table if exists mux_private.worker_state;
delete from mux_private.applied_files where name = '006_claim';
commit;
notify pgrst, 'reload schema';
