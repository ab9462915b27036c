-- Undoes ../050_names.sql.
begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;
do $$
begin
  if to_regnamespace('mux_private') is not null then
    call mux_private.undo('050_names', array[
      'lessons_are_searchable', 'is_temporary', 'first_instructors', 'newest_playable', 'can_play', 'was_deleted', 'is_of_another', 'is_superseded',
      'entry_of', 'newest_entry', 'key_of', 'named_by', 'named_id', 'as_written', 'is_mux_id'
    ]);
  end if;
end
$$;
commit;
notify pgrst, 'reload schema';
