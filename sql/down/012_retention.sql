-- Undoes ../012_retention.sql. Stop the workers first.
begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;
do $$
begin
  if to_regnamespace('mux_private') is not null then
    call mux_private.undo('012_retention', array['worker_prune_events', 'prune_events']);
  end if;
end
$$;
commit;
notify pgrst, 'reload schema';
