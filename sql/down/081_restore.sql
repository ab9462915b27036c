-- Undoes ../081_restore.sql.
begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;
do $$
begin
  if to_regnamespace('mux_private') is not null then
    call mux_private.undo('081_restore', array[
      'try_to_restore', 'refusal', 'restore'
    ]);
  end if;
end
$$;
commit;
notify pgrst, 'reload schema';
