-- Undoes ../102_reports.sql.
begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;
do $$
begin
  if to_regnamespace('mux_private') is not null then
    call mux_private.undo('102_reports', array[
      'worker_schema_version', 'missing_files', 'worker_summary', 'unplayable_count', 'failed_count'
    ]);
  end if;
end
$$;
commit;
notify pgrst, 'reload schema';
