-- Undoes ../004_new_upload.sql. Forgets who tracked an upload first.
begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;
do $$
begin
  if to_regnamespace('mux_private') is not null then
    drop trigger if exists start_upload_anew on public.mux_asset_tracking;
    drop trigger if exists note_new_upload on public.mux_asset_tracking;
    drop trigger if exists note_changed_upload on public.mux_asset_tracking;
    call mux_private.undo('004_new_upload', array['note_upload', 'start_upload_anew', 'is_mux_id'], array['mux_private.first_trackers']);
  end if;
end
$$;
commit;
