-- Undoes ../011_pace.sql. Stop the workers first.
begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;
drop function if exists public.worker_slow_down;
drop function if exists public.worker_take_turns;
drop function if exists mux_private.pace_share;
drop table if exists mux_private.mux_pace;
delete from mux_private.applied_files where name = '011_pace';
commit;
notify pgrst, 'reload schema';
