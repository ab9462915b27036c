-- Undoes ../078_webhooks.sql.
begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;
do $$
begin
  if to_regnamespace('mux_private') is not null then
    call mux_private.undo('078_webhooks', array[
      'worker_note_events'
    ]);
  end if;
end
$$;
commit;
notify pgrst, 'reload schema';
