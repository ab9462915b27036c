-- Undoes ../030_tracking.sql. Drops the tracking table with all its rows; lessons keep their values.
-- A table that the app made before keeps its rows, and loses only what the worker added.
begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;
do $$
declare
  later text;
  change text;
begin
  if to_regclass('mux_private.of_the_app') is null then
    return;
  end if;
  select string_agg(f.name, ', ' order by f.name) into later
  from mux_private.applied_files f where f.name > '030_tracking';
  if later is not null then
    raise exception 'these files are still applied: %', later
      using hint = 'Undo them first, the last one first, then this file again.';
  end if;

  if not exists (select from mux_private.of_the_app o where o.kind = 'table') then
    drop table if exists public.mux_asset_tracking;
  end if;
  if not exists (select from mux_private.of_the_app) then
    drop type if exists public.mux_asset_status;
  end if;
  for change in
    select o.statement from mux_private.of_the_app o
    where o.kind = 'type' or to_regclass('public.mux_asset_tracking') is not null
    order by o.place
  loop
    execute change;
  end loop;
  drop table mux_private.of_the_app;
  delete from mux_private.applied_files where name = '030_tracking';
end
$$;
commit;
notify pgrst, 'reload schema';
