-- Undoes ../003_audit.sql. Drops the audit and the upload history with all their rows.
begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;
do $$
begin
  if to_regnamespace('mux_private') is not null then
    drop trigger if exists close_upload_history on public.lessons;
    call mux_private.undo(
      '003_audit', array['close_upload_history', 'record_event', 'actor'],
      array['public.mux_asset_events', 'mux_private.upload_history']);
  end if;
end
$$;
commit;
notify pgrst, 'reload schema';
