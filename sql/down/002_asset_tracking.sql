-- Undoes ../002_asset_tracking.sql. Drops the tracking table with all its rows; lessons keep theirs.
begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;
drop table if exists public.mux_asset_tracking;
drop type if exists public.mux_asset_status;
delete from mux_private.applied_files where name = '002_asset_tracking';
commit;
notify pgrst, 'reload schema';
