-- Undoes ../082_adopt.sql. Stop the workers first.
begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;
do $$
begin
  if to_regnamespace('mux_private') is not null then
    call mux_private.undo('082_adopt', array[
      'worker_adopt', 'planned_adoption', 'adopt', 'schedule_adopted', 'look_once_more', 'begin_to_track'
    ]);
  end if;
end
$$;
commit;
notify pgrst, 'reload schema';
