-- Undoes ../910_snapshot.sql.
begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;
do $$
begin
  if to_regclass('mux_private.snapshot') is not null then
    delete from mux_private.snapshot s where s.kind is not null;
  end if;
  if to_regnamespace('mux_private') is not null then
    call mux_private.undo('910_snapshot');
  end if;
end
$$;
commit;
