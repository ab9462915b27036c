-- Undoes ../003_audit.sql. Drops the audit with all its rows.
begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;
drop function if exists mux_private.record_event;
drop function if exists mux_private.actor();
drop table if exists public.mux_asset_events;
delete from mux_private.applied_files where name = '003_audit';
commit;
notify pgrst, 'reload schema';
