-- Undoes ../084_backfill.sql. Stop the workers first.
begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;
do $$
begin
  if to_regnamespace('mux_private') is not null then
    call mux_private.undo('084_backfill', array[
      'worker_backfill_failures', 'worker_backfill_progress', 'backfill_rows', 'worker_backfill_end',
      'worker_backfill_begin', 'worker_backfill_candidates'
    ]);
  end if;
end
$$;
commit;
notify pgrst, 'reload schema';
