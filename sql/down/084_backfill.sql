-- Undoes ../084_backfill.sql. Stop the workers first. Drops the progress and findings of a backfill.
begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;
do $$
begin
  if to_regnamespace('mux_private') is not null then
    call mux_private.undo('084_backfill', array[
      'worker_backfill_findings', 'worker_backfill_note', 'worker_backfill_begin', 'worker_legacy_lessons',
      'lesson_json'
    ], tables => array['mux_private.backfill_findings', 'mux_private.backfill_runs']);
  end if;
end
$$;
commit;
notify pgrst, 'reload schema';
