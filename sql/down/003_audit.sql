-- Undoes ../003_audit.sql. Drops the audit and the upload history with all their rows.
begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;
drop function if exists mux_private.record_event;
drop function if exists mux_private.actor();
drop table if exists public.mux_asset_events;
drop trigger if exists close_upload_history on public.lessons;
drop function if exists mux_private.close_upload_history();
drop table if exists mux_private.upload_history;
delete from mux_private.applied_files where name = '003_audit';
commit;
notify pgrst, 'reload schema';
