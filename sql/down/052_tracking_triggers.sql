-- Undoes ../052_tracking_triggers.sql.
begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;
do $$
begin
  if to_regnamespace('mux_private') is not null then
    drop trigger if exists start_new_upload on public.mux_asset_tracking;
    drop trigger if exists note_new_upload on public.mux_asset_tracking;
    drop trigger if exists note_changed_upload on public.mux_asset_tracking;
    drop trigger if exists limit_new_uploads on public.mux_asset_tracking;
    drop trigger if exists limit_changed_uploads on public.mux_asset_tracking;
    call mux_private.undo('052_tracking_triggers', array[
      'limit_uploads', 'note_upload', 'start_new_upload', 'enter_upload', 'note_holders', 'note_columns'
    ]);
  end if;
end
$$;
commit;
notify pgrst, 'reload schema';
