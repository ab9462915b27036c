-- What it does: makes worker_doctor, which tells from the catalog how the database stands.
-- Needs: 008.
-- Locks: none.
-- Undo: down/009_doctor.sql

begin;
set local lock_timeout = '5s';

create or replace function public.worker_doctor() returns jsonb
language sql stable set search_path = ''
return jsonb_build_object(
  'schema_version', public.worker_schema_version(),
  'database_time', extract(epoch from clock_timestamp()),
  'role', current_user,
  'environment_id', (select s.environment_id from mux_private.worker_state s),
  'lessons_columns', (
    select coalesce(jsonb_agg(a.attname order by a.attname), '[]')
    from pg_catalog.pg_attribute a
    where a.attrelid = to_regclass('public.lessons') and a.attnum > 0 and not a.attisdropped
  ),
  'lessons_may_be_written', (
    select coalesce(bool_and(has_column_privilege(a.attrelid, a.attname, 'update')), false)
    from pg_catalog.pg_attribute a
    where a.attrelid = to_regclass('public.lessons') and not a.attisdropped
      and a.attname in ('status', 'mux_asset_id', 'mux_playback_id', 'updated_at')
  ),
  'row_level_security', (
    select coalesce(jsonb_object_agg(c.relname, c.relrowsecurity), '{}')
    from pg_catalog.pg_class c
    where c.oid in (to_regclass('public.lessons'), to_regclass('public.mux_asset_tracking'),
                    to_regclass('public.mux_asset_events'))
  ),
  'functions', (
    select coalesce(jsonb_agg(jsonb_build_object(
      'name', p.proname,
      'anon', has_function_privilege('anon', p.oid, 'execute'),
      'authenticated', has_function_privilege('authenticated', p.oid, 'execute'),
      'service_role', has_function_privilege('service_role', p.oid, 'execute')
    ) order by p.proname), '[]')
    from pg_catalog.pg_proc p
    where p.pronamespace = to_regnamespace('public') and p.proname like 'worker\_%'
  ),
  'open_to_anon', (
    select coalesce(jsonb_agg(c.oid::regclass::text order by c.oid::regclass::text), '[]')
    from pg_catalog.pg_class c
    where c.relkind = 'r'
      and (c.relnamespace = to_regnamespace('mux_private')
           or c.oid in (to_regclass('public.mux_asset_tracking'), to_regclass('public.mux_asset_events')))
      and (has_any_column_privilege('anon', c.oid, 'select, insert, update')
           or has_table_privilege('anon', c.oid, 'delete, truncate'))
  ),
  'recent', (
    select coalesce(jsonb_agg(jsonb_build_object('upload_id', r.upload_id, 'asset_id', r.mux_asset_id)), '[]')
    from (
      select left(t.upload_id, 300) as upload_id, left(t.mux_asset_id, 300) as mux_asset_id
      from public.mux_asset_tracking t
      where t.status = 'ready'
      order by t.settled_at desc nulls last
      limit 3
    ) r
  )
);
comment on function public.worker_doctor() is
  'For the command doctor: what lessons has, what is protected and granted, the schema''s version, the database''s clock, and the ids that were published last.';

revoke execute on function public.worker_doctor() from public, anon, authenticated;
grant execute on function public.worker_doctor() to service_role;

insert into mux_private.applied_files (name) values ('009_doctor') on conflict do nothing;

commit;

notify pgrst, 'reload schema';
