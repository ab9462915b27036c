-- What it does: makes worker_doctor, which tells from the catalog how the database stands.
-- Needs: 008.
-- Locks: none.
-- Undo: down/009_doctor.sql

begin;
set local lock_timeout = '5s';

create or replace function public.worker_doctor() returns jsonb
language sql stable set search_path = public, extensions, pg_temp
return jsonb_build_object(
  'schema_version', public.worker_schema_version(),
  'database_time', extract(epoch from clock_timestamp()),
  'role', current_user,
  'passes_row_security', (select r.rolbypassrls from pg_catalog.pg_roles r where r.rolname = current_user),
  'environment_id', (select s.environment_id from mux_private.worker_state s),
  'lessons_columns', (
    select coalesce(jsonb_object_agg(a.attname, format_type(a.atttypid, null)), '{}')
    from pg_catalog.pg_attribute a
    where a.attrelid = to_regclass('public.lessons') and a.attnum > 0 and not a.attisdropped
  ),
  'lessons_statuses', (
    select jsonb_agg(e.enumlabel order by e.enumsortorder)
    from pg_catalog.pg_attribute a join pg_catalog.pg_enum e on e.enumtypid = a.atttypid
    where a.attrelid = to_regclass('public.lessons') and a.attname = 'status'
  ),
  'lessons_may_be_used', (
    select coalesce(bool_and(has_table_privilege(a.attrelid, 'select')
                             and has_column_privilege(a.attrelid, a.attname, 'update')), false)
    from pg_catalog.pg_attribute a
    where a.attrelid = to_regclass('public.lessons') and not a.attisdropped
      and a.attname in ('status', 'mux_asset_id', 'mux_playback_id', 'updated_at')
  ),
  'row_level_security', (
    select coalesce(jsonb_object_agg(c.relname, c.relrowsecurity), '{}')
    from pg_catalog.pg_class c
    where c.relkind in ('r', 'p')
      and (c.relnamespace = to_regnamespace('mux_private')
           or c.oid in (to_regclass('public.lessons'), to_regclass('public.mux_asset_tracking'),
                        to_regclass('public.mux_asset_events')))
  ),
  'functions', (
    select coalesce(jsonb_agg(jsonb_build_object(
      'name', p.proname,
      'is_for_app', case when p.pronamespace = to_regnamespace('public')
        then p.proname not like 'worker\_%' else p.proname like 'app\_%' end,
      'is_trigger', p.prorettype = 'pg_catalog.trigger'::regtype,
      'anon', has_function_privilege('anon', p.oid, 'execute'),
      'authenticated', has_function_privilege('authenticated', p.oid, 'execute'),
      'service_role', has_function_privilege('service_role', p.oid, 'execute'),
      'others', (
        select coalesce(jsonb_agg(distinct r.rolname), '[]')
        from aclexplode(p.proacl) x join pg_catalog.pg_roles r on r.oid = x.grantee
        where r.oid <> p.proowner and r.rolname not in ('anon', 'authenticated', 'service_role')
      )
    ) order by p.proname), '[]')
    from pg_catalog.pg_proc p
    where p.pronamespace = to_regnamespace('mux_private')
       or p.pronamespace = to_regnamespace('public') and p.proname like 'worker\_%'
       -- By name and arguments: the app may well have functions of these names itself.
       or p.oid in (to_regprocedure('public.track_upload(uuid, text, text)'),
                    to_regprocedure('public.check_asset_status(uuid)'),
                    to_regprocedure('public.publish_lesson(uuid)'))
  ),
  'open_to_anon', (
    select coalesce(jsonb_agg(format('%I.%I', n.nspname, c.relname) order by n.nspname, c.relname), '[]')
    from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
    where c.relkind in ('r', 'p', 'v', 'm')
      and (c.relnamespace = to_regnamespace('mux_private')
           or c.oid in (to_regclass('public.mux_asset_tracking'), to_regclass('public.mux_asset_events')))
      and (has_any_column_privilege('anon', c.oid, 'select, insert, update, references')
           or has_table_privilege('anon', c.oid, 'delete, truncate, trigger'))
  ),
  'private_schema_open_to', (
    select coalesce(jsonb_agg(r.rolname order by r.rolname), '[]')
    from pg_catalog.pg_roles r
    where r.rolname in ('anon', 'authenticated')
      and has_schema_privilege(r.oid, to_regnamespace('mux_private'), 'usage')
  ),
  'recent', (
    select coalesce(jsonb_agg(jsonb_build_object('upload_id', r.upload_id, 'asset_id', r.asset_id)), '[]')
    from (
      select left(t.upload_id, 300) as upload_id,
             case when t.mux_asset_id !~ '^temp_' then left(t.mux_asset_id, 300) end as asset_id
      from public.mux_asset_tracking t
      where t.status <> 'error' and t.id in (
        (select e.tracking_id from public.mux_asset_events e order by e.id desc limit 100)
        union
        (select o.id from public.mux_asset_tracking o limit 100))  -- the audit may have been pruned
      order by t.tracked_at desc
      limit 5
    ) r
  )
);
comment on function public.worker_doctor() is
  'For the command doctor: what lessons has, what is protected and granted, the schema''s version, the database''s clock, and the ids of the latest uploads.';

revoke execute on function public.worker_doctor() from public, anon, authenticated;
grant execute on function public.worker_doctor() to service_role;

insert into mux_private.applied_files (name) values ('009_doctor') on conflict do nothing;

commit;
