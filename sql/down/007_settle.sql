-- Undoes ../007_settle.sql. Stop the workers first.
begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;
do $$
begin
  if to_regnamespace('mux_private') is not null then
    call mux_private.undo('007_settle', array[
      'worker_record_refusal', 'worker_settle', 'rows_about', 'settle_row', 'busy', 'settle_recheck', 'mark_unplayable', 'recheck',
      'contradicts', 'plays', 'is_unplayable', 'record_refusal', 'raised_by', 'back_off', 'wait', 'can_write_without_waiting',
      'fail', 'publish', 'pause_of', 'outcome', 'names_newer', 'tracks'
    ]);
  end if;
end
$$;
commit;
notify pgrst, 'reload schema';
