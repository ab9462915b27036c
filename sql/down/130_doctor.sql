-- Undoes ../130_doctor.sql.
begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;
do $$
begin
  if to_regnamespace('mux_private') is not null then
    call mux_private.undo('130_doctor', array[
      'worker_doctor', 'trigger_doubts', 'lessons_hidden', 'role_excess', 'schedule_gaps', 'differences', 'objects'
    ], tables => array['mux_private.snapshot']);
  end if;
end
$$;
commit;
notify pgrst, 'reload schema';
