-- Undoes ../004_new_upload.sql. The upload history keeps its rows, and learns of no more uploads.
begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;
do $$
begin
  if to_regnamespace('mux_private') is not null then
    drop trigger if exists start_upload_anew on public.mux_asset_tracking;
    drop trigger if exists note_new_upload on public.mux_asset_tracking;
    drop trigger if exists note_changed_upload on public.mux_asset_tracking;
    drop trigger if exists limit_new_uploads on public.mux_asset_tracking;
    drop trigger if exists limit_changed_uploads on public.mux_asset_tracking;
    call mux_private.undo('004_new_upload', array[
      'limit_uploads', 'is_of_another', 'pass_over', 'note_video', 'was_deleted', 'mark_deleted', 'learn', 'note_upload',
      'start_upload_anew', 'enter_upload', 'note_holders', 'note_columns', 'is_superseded', 'entry_of', 'newest_entry',
      'key_of', 'named_by', 'named_id', 'as_written', 'fact_of'
    ], types => array['mux_private.fact']);
  end if;
end
$$;
commit;
