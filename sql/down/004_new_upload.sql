-- Undoes ../004_new_upload.sql. Forgets who tracked an upload first.
begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;
drop trigger if exists start_upload_anew on public.mux_asset_tracking;
drop trigger if exists note_new_upload on public.mux_asset_tracking;
drop trigger if exists note_changed_upload on public.mux_asset_tracking;
drop function if exists mux_private.note_upload();
drop function if exists mux_private.start_upload_anew();
drop function if exists mux_private.is_mux_id(text);
drop table if exists mux_private.first_trackers;
delete from mux_private.applied_files where name = '004_new_upload';
commit;
