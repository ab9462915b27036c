-- Undoes ../032_audit.sql. Drops the audit with all its rows.
begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;
do $$
begin
  if to_regnamespace('mux_private') is not null then
    call mux_private.undo('032_audit', array[
      'record_event', 'actor'
    ], tables => array['public.mux_asset_events']);
  end if;
end
$$;
commit;
notify pgrst, 'reload schema';
