-- Undoes ../013_backfill.sql. Stop the workers first.
begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;
do $$
begin
  if to_regnamespace('mux_private') is not null then
    call mux_private.undo('013_backfill', array[
      'worker_untracked', 'mend_schedule', 'worker_backfill_findings', 'worker_backfill_note',
      'worker_backfill_begin', 'worker_adopt', 'wants_adoption', 'adopt', 'begin_to_track', 'lease_adopted', 'restore',
      'note_restored', 'newest_playable', 'worker_rivals', 'first_instructors', 'worker_legacy_lessons', 'lesson_json',
      'targets', 'lesson_created_at', 'is_temporary'
    ], array['mux_private.adoption_walk', 'mux_private.backfill_findings', 'mux_private.backfill_runs']);
  end if;
end
$$;
commit;
notify pgrst, 'reload schema';
