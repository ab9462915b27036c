-- Undoes ../009_doctor.sql.
begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;
do $$
begin
  if to_regnamespace('mux_private') is not null then
    call mux_private.undo('009_doctor', array['worker_doctor', 'differences', 'objects'], array['mux_private.snapshot']);
  end if;
end
$$;
commit;
notify pgrst, 'reload schema';
