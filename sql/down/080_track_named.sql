-- Undoes ../080_track_named.sql.
begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;
do $$
begin
  if to_regnamespace('mux_private') is not null then
    call mux_private.undo('080_track_named', array[
      'worker_rivals', 'begin_to_track', 'lease_adopted', 'restore', 'targets'
    ]);
  end if;
end
$$;
commit;
notify pgrst, 'reload schema';
