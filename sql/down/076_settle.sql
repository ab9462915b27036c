-- Undoes ../076_settle.sql. Stop the workers first.
begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;
do $$
begin
  if to_regnamespace('mux_private') is not null then
    call mux_private.undo('076_settle', array[
      'worker_record_refusal', 'worker_settle', 'record_refusal', 'raised_by'
    ]);
  end if;
end
$$;
commit;
notify pgrst, 'reload schema';
