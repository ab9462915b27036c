-- Undoes ../007_settle.sql. Stop the workers first.
begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;
do $$
begin
  if to_regnamespace('mux_private') is not null then
    call mux_private.undo('007_settle', array[
      'worker_record_refusal', 'worker_settle', 'rows_about', 'with_verdict', 'record_refusal', 'raised_by', 'settle_row', 'busy',
      'settle_recheck', 'follow_playback_id', 'mark_unplayable', 'recheck', 'contradicts', 'plays', 'is_unplayable', 'is_backing_off',
      'back_off', 'wait', 'make_due', 'note_look', 'fail', 'publish', 'number_of', 'claim_of', 'pause_of', 'outcome',
      'names_newer', 'tracks'
    ], types => array['mux_private.claim']);
  end if;
end
$$;
commit;
notify pgrst, 'reload schema';
