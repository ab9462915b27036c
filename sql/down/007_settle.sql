-- Undoes ../007_settle.sql. Stop the workers first.
begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;
drop function if exists public.worker_settle;
drop function if exists mux_private.settle_item;
drop function if exists mux_private.settle_row;
drop function if exists mux_private.postpone;
drop function if exists mux_private.wait;
drop function if exists mux_private.fail;
drop function if exists mux_private.publish;
drop function if exists mux_private.outcome;
drop function if exists mux_private.is_of_another;
drop function if exists mux_private.rows_about;
drop function if exists mux_private.tracks;
delete from mux_private.applied_files where name = '007_settle';
commit;
notify pgrst, 'reload schema';
