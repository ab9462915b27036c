-- Undoes ../008_reports.sql. Stop the workers first.
begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;
do $$
begin
  if to_regnamespace('mux_private') is not null then
    call mux_private.undo('008_reports', array['worker_schema_version', 'worker_summary']);
    drop index if exists public.idx_mux_asset_tracking_failed;
  end if;
end
$$;
commit;
notify pgrst, 'reload schema';
