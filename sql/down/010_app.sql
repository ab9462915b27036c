-- Undoes ../010_app.sql. The app can no longer call its functions.
begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;
drop function if exists public.publish_lesson(uuid);
drop function if exists public.track_upload(uuid, text, text);
drop function if exists public.check_asset_status(uuid);
drop function if exists mux_private.app_publish;
drop function if exists mux_private.app_look_soon;
drop function if exists mux_private.app_require_newest;
drop function if exists mux_private.app_is_current;
drop function if exists mux_private.app_require_video;
drop function if exists mux_private.app_is_of_another;
drop function if exists mux_private.app_asset;
drop function if exists mux_private.app_track_upload;
drop function if exists mux_private.app_lock_lesson;
delete from mux_private.applied_files where name = '010_app';
commit;
notify pgrst, 'reload schema';
