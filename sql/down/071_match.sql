-- Undoes ../071_match.sql.
begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;
do $$
begin
  if to_regnamespace('mux_private') is not null then
    call mux_private.undo('071_match', array[
      'rows_about', 'contradicts', 'plays', 'is_unplayable', 'is_backing_off', 'busy', 'names_newer', 'tracks'
    ]);
  end if;
end
$$;
commit;
notify pgrst, 'reload schema';
