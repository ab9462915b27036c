-- Undoes ../007_settle.sql. Stop the workers first.
begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;
do $$
begin
  if to_regnamespace('mux_private') is not null then
    call mux_private.undo('007_settle', array[
      'worker_refuse', 'worker_settle', 'rows_about', 'settle_row', 'turn_down', 'refuse',
      'postpone', 'wait', 'may_write', 'fail', 'publish', 'pause_of', 'outcome', 'was_deleted',
      'is_of_another', 'tracks'
    ]);
  end if;
end
$$;
commit;
notify pgrst, 'reload schema';
