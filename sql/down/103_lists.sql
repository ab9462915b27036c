-- Undoes ../103_lists.sql.
begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;
do $$
begin
  if to_regnamespace('mux_private') is not null then
    call mux_private.undo('103_lists', array[
      'worker_failures', 'worker_list_lessons', 'list_lessons', 'list_event', 'list_entries', 'list_place'
    ]);
  end if;
end
$$;
commit;
notify pgrst, 'reload schema';
