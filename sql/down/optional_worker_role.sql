-- Undoes ../optional/worker_role.sql. Stop the workers that have a key of mux_worker first. Drops the role
-- with its policies and all that it was granted in this database, by the app too. Where another database
-- of this server has granted it something, the role itself stays.
begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;
do $$
begin
  if to_regrole('mux_worker') is null or to_regclass('mux_private.applied_files') is null then
    return;
  end if;
  if not exists (select from mux_private.applied_files f where f.name = 'worker_role') then
    return;
  end if;
  execute format('grant mux_worker to %I', current_user);  -- for "drop owned"
  drop owned by mux_worker;
  begin
    drop role mux_worker;
  exception when dependent_objects_still_exist then
    execute format('revoke mux_worker from %I', current_user);
  end;
  if to_regclass('mux_private.snapshot') is not null then
    delete from mux_private.snapshot s where strpos(s.name, 'mux_worker') > 0;
  end if;
  call mux_private.undo('worker_role');
end
$$;
commit;
notify pgrst, 'reload schema';
