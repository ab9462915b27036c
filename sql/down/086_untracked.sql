-- Undoes ../086_untracked.sql.
begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;
do $$
begin
  if to_regnamespace('mux_private') is not null then
    call mux_private.undo('086_untracked', array[
      'worker_untracked', 'mend_schedule', 'wants_adoption'
    ], tables => array['mux_private.adoption_walk']);
  end if;
end
$$;
commit;
notify pgrst, 'reload schema';
