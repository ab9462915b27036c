-- What it does: makes worker_doctor, which reports what differs from what sql/ made, and the table of
--   the snapshot with which it compares the catalog. (910 takes the snapshot.)
-- Needs: 024, 032, 102.
-- Locks: none. Applied again: its own table, access exclusive for a moment.
-- Undo: down/130_doctor.sql (drops its table)

begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;

create table if not exists mux_private.snapshot (
  kind text not null,
  name text not null,
  state text not null,
  primary key (kind, name)
);
comment on table mux_private.snapshot is 'What sql/ made of the catalog, taken by its last file. The doctor compares the catalog with it.';
comment on column mux_private.snapshot.kind is 'function, trigger, policy, index, constraint, column or grant.';
comment on column mux_private.snapshot.name is 'Which one.';
comment on column mux_private.snapshot.state is 'Hash of its definition; of a grant, what it is on.';
alter table mux_private.snapshot enable row level security;

-- What an app may add to the two tables is left out: triggers that call its own functions, indexes
-- of other names, columns without a comment, grants to other roles than those of requests.
create or replace function mux_private.objects() returns table (kind text, name text, state text)
language sql stable set search_path = public, extensions, pg_temp
begin atomic
  with tables as (
    select c.oid, c.relname, c.relnamespace, c.relacl, c.relowner, c.oid::regclass::text as name
    from pg_catalog.pg_class c
    where c.relkind = 'r'
      and (c.relnamespace = to_regnamespace('mux_private')
           or c.oid in (to_regclass('public.mux_asset_tracking'), to_regclass('public.mux_asset_events')))
  ), functions as (
    select p.*, p.oid::regprocedure::text as name
    from pg_catalog.pg_proc p
    where (p.pronamespace = to_regnamespace('mux_private')
           or p.oid in (select f.function from mux_private.public_functions() f))
      and p.prokind in ('f', 'p')
  ), granted (of, acl) as (
    select 'table ' || t.name, coalesce(t.relacl, acldefault('r', t.relowner)) from tables t
    union all
    select format('column %s.%s', t.name, a.attname), a.attacl
    from tables t join pg_catalog.pg_attribute a on a.attrelid = t.oid
    union all
    select 'function ' || f.name, coalesce(f.proacl, acldefault('f', f.proowner)) from functions f
    union all
    select 'schema mux_private', coalesce(n.nspacl, acldefault('n', n.nspowner))
    from pg_catalog.pg_namespace n where n.nspname = 'mux_private'
  )
  select 'function', f.name, md5(pg_get_functiondef(f.oid)) from functions f
  union all
  select 'trigger', t.tgname || ' on ' || b.name, md5(concat(t.tgenabled, pg_get_triggerdef(t.oid)))
  from pg_catalog.pg_trigger t join tables b on b.oid = t.tgrelid
  where not t.tgisinternal and t.tgfoid in (select f.oid from functions f)
  union all
  select 'policy', format('"%s" on %s', p.polname, b.name), md5(concat(
    p.polcmd, p.polpermissive, array(select r::regrole::text from unnest(p.polroles) r order by 1),
    pg_get_expr(p.polqual, p.polrelid), '; ', pg_get_expr(p.polwithcheck, p.polrelid)))
  from pg_catalog.pg_policy p join tables b on b.oid = p.polrelid
  union all
  select 'index', i.indexrelid::regclass::text, md5(concat(i.indisvalid, pg_get_indexdef(i.indexrelid)))
  from pg_catalog.pg_index i join tables b on b.oid = i.indrelid join pg_catalog.pg_class c on c.oid = i.indexrelid
  where (b.relname <> 'mux_asset_tracking' or c.relname like 'idx\_mux\_asset\_tracking\_%')
    and not exists (select from pg_catalog.pg_constraint o where o.conindid = i.indexrelid and o.contype in ('p', 'u'))
  union all
  select 'constraint', c.conname || ' on ' || b.name, md5(concat(c.convalidated, pg_get_constraintdef(c.oid)))
  from pg_catalog.pg_constraint c join tables b on b.oid = c.conrelid
  where c.contype in ('c', 'f', 'p', 'u')
  union all
  select 'column', b.name || '.' || a.attname, md5(concat(
    format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity, a.attgenerated, pg_get_expr(d.adbin, d.adrelid)))
  from tables b join pg_catalog.pg_attribute a on a.attrelid = b.oid and a.attnum > 0 and not a.attisdropped
  left join pg_catalog.pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
  where col_description(b.oid, a.attnum) is not null
  union all
  select 'grant', format('%s on %s to %s', lower(x.privilege_type), g.of, coalesce(r.rolname, 'public')), g.of
  from granted g cross join aclexplode(g.acl) x left join pg_catalog.pg_roles r on r.oid = x.grantee
  where x.grantee = 0 or r.rolname in ('anon', 'authenticated', 'service_role', 'mux_worker');
end;
comment on function mux_private.objects() is
  'What sql/ has made of the catalog, as it is now: each object with a hash of its definition, and each grant to a role of requests.';

-- Where an object is gone, its grants are not listed as well.
create or replace function mux_private.differences() returns text[]
language sql stable set search_path = public, extensions, pg_temp
return (
  with compared as (
    select kind, name, was.state as was, now.state as now
    from mux_private.snapshot was full join mux_private.objects() now using (kind, name)
    where was.state is distinct from now.state
  )
  select coalesce(array_agg(replace(d.difference, 'public.', '') order by d.difference), '{}')
  from (
    select case
      when c.now is null and c.kind = 'grant' then 'revoked: ' || c.name
      when c.now is null then format('%s %s is missing', c.kind, c.name)
      when c.was is null and c.kind = 'grant' then 'granted: ' || c.name
      when c.was is null then format('%s %s was added', c.kind, c.name)
      else format('%s %s was changed', c.kind, c.name) end as difference
    from compared c
    where (c.was is not null or c.kind in ('grant', 'policy'))
      and not (c.kind = 'grant' and exists (
        select from compared o
        where o.kind in ('function', 'column') and (o.was is null or o.now is null)
          and strpos(c.name, format(' on %s %s to ', o.kind, o.name)) > 0))
  ) d
);
comment on function mux_private.differences() is
  'How the catalog differs from what sql/ made, in words; empty if it does not. What was added counts only where it grants access.';

-- Of a large table a thousand pages are read, taken at random, and what was last tracked.
create or replace function mux_private.schedule_gaps() returns jsonb
language plpgsql stable set search_path = public, extensions, pg_temp set enable_seqscan = off set jit = off as $$
declare
  pages constant bigint := pg_relation_size('public.mux_asset_tracking') / 8192;
begin
  return jsonb_build_object(
    'unscheduled', (
      select count(*)
      from (
        select t.id from public.mux_asset_tracking t tablesample system (least(100, 100000.0 / greatest(pages, 1)))
        where t.status = 'processing'
        union
        select t.id from public.mux_asset_tracking t
        where t.status = 'processing'
          and t.id in (select e.tracking_id from public.mux_asset_events e order by e.id desc limit 1000)
      ) waiting
      where not exists (select from mux_private.schedule s where s.tracking_id = waiting.id)
    ),
    'unneeded', (
      select count(*) from (select * from mux_private.schedule limit 5000) s
      where not exists (
        select from public.mux_asset_tracking t
        where t.id = s.tracking_id and (t.status = 'processing' or (t.status = 'ready' and s.is_recheck)))
    ),
    'is_complete', pages <= 1000 and (select count(*) <= 5000 from mux_private.schedule)
  );
end
$$;
comment on function mux_private.schedule_gaps() is
  'How many rows of mux_asset_tracking wait and are not in the schedule, and how many rows of the schedule belong to no waiting row. Of large tables a part is read; is_complete is false then.';

create or replace function mux_private.role_excess() returns text[]
language sql stable set search_path = public, extensions, pg_temp
return (
  select array_remove(array[
      case when r.rolsuper then 'is a superuser' end,
      case when r.rolbypassrls then 'bypasses row level security' end,
      case when r.rolcreaterole then 'may create roles' end,
      case when r.rolcreatedb then 'may create databases' end,
      case when r.rolreplication then 'may replicate' end,
      case when r.rolcanlogin then 'may log in' end], null)
    || array(
      select 'is a member of ' || m.roleid::regrole
      from pg_catalog.pg_auth_members m where m.member = r.oid order by 1)
  from pg_catalog.pg_roles r where r.rolname = 'mux_worker'
);
comment on function mux_private.role_excess() is
  'What the role mux_worker may do that no grant of sql/ gives it: its attributes, and the roles that it is a member of. Null where there is no such role.';

create or replace function mux_private.lessons_hidden() returns text[]
language sql stable set search_path = public, extensions, pg_temp
return (
  with policies as (
    select p.polname as name, p.polpermissive as is_permissive, c.verb,
      p.polpermissive and pg_get_expr(p.polqual, p.polrelid) = 'true'
        and coalesce(pg_get_expr(p.polwithcheck, p.polrelid), 'true') = 'true' as is_for_all_rows
    from pg_catalog.pg_policy p join (values ('r', 'read'), ('w', 'update')) c (command, verb) on p.polcmd::text in (c.command, '*')
    where p.polrelid = mux_private.lessons_table()
      and (0 = any (p.polroles) or to_regrole(quote_ident(current_user))::oid = any (p.polroles))
  )
  select array(
    select format('no policy lets %s %s all rows', current_user, c.verb)
    from (values ('read'), ('update')) c (verb)
    where not exists (select from policies p where p.verb = c.verb and p.is_for_all_rows)
    union
    select format('the restrictive policy "%s" applies to %s', p.name, current_user)
    from policies p where not p.is_permissive
    order by 1)
  where row_security_active(mux_private.lessons_table())
);
comment on function mux_private.lessons_hidden() is
  'What may hide lessons from the caller, or refuse its updates: policies that are missing, or restrict it. Null where row level security does not apply to it.';

-- Read from the source: what the triggers' functions name, and what those call, as far as that runs with
-- the caller's rights. A statement that is composed as it runs cannot be read.
create or replace function mux_private.trigger_doubts() returns text[]
language sql stable set search_path = public, extensions, pg_temp
return (
  with recursive called (place, definition, function) as (
    select format('trigger %s of %s', t.tgname, t.tgrelid::regclass), pg_get_triggerdef(t.oid), t.tgfoid
    from pg_catalog.pg_trigger t join pg_catalog.pg_proc p on p.oid = t.tgfoid
    where t.tgrelid in (mux_private.lessons_table(), to_regclass('public.mux_asset_tracking'))
      and not t.tgisinternal and t.tgenabled in ('O', 'A')
      and (t.tgtype & 16 > 0 or t.tgtype & 4 > 0 and t.tgrelid <> mux_private.lessons_table())
      and p.pronamespace <> 'mux_private'::regnamespace
    union
    select c.place, '', p.oid
    from called c join pg_catalog.pg_proc f on f.oid = c.function and not f.prosecdef
    join pg_catalog.pg_language l on l.oid = f.prolang and l.lanname in ('plpgsql', 'sql')
    cross join lateral regexp_matches(f.prosrc, '(?:([a-z_][a-z0-9_]*)\s*\.\s*)?([a-z_][a-z0-9_]*)\s*\(', 'gi') m
    join pg_catalog.pg_proc p on p.proname = lower(m[2])
    join pg_catalog.pg_namespace n on n.oid = p.pronamespace
    where case when m[1] is null then n.nspname in ('public', 'extensions', mux_private.lesson_options() ->> 'schema') else n.nspname = lower(m[1]) end
      and n.nspname not in ('pg_catalog', 'mux_private')
  ), code as (
    select c.place, c.definition, f.oid, f.prosecdef, f.prosrc, n.nspname, l.lanname in ('plpgsql', 'sql') as is_source,
      regexp_replace(regexp_replace(f.prosrc, '--[^\n]*', '', 'g'), '''[^'']*''', '''''', 'g') as statements
    from called c join pg_catalog.pg_proc f on f.oid = c.function
    join pg_catalog.pg_namespace n on n.oid = f.pronamespace
    join pg_catalog.pg_language l on l.oid = f.prolang
  ), named as (
    select c.place, lower(regexp_replace(m[1], '\s+', ' ')) as verb, r.oid, r.oid::regclass::text as name, n.oid as schema
    from code c
    cross join lateral regexp_matches(
      c.statements, '\m(insert\s+into|update|delete\s+from|from|join)\s+(?:only\s+)?(?:"?([a-z_][a-z0-9_]*)"?\s*\.\s*)?"?([a-z_][a-z0-9_]*)', 'gi') m
    join pg_catalog.pg_class r on r.relname in (m[3], lower(m[3])) and r.relkind in ('r', 'p', 'v', 'm', 'f')
    join pg_catalog.pg_namespace n on n.oid = r.relnamespace
    where c.is_source and not c.prosecdef
      and case when m[2] is null then n.nspname in ('public', 'extensions', mux_private.lesson_options() ->> 'schema') else n.nspname in (m[2], lower(m[2])) end
      and n.nspname <> 'pg_catalog'
  )
  select coalesce(array_agg(distinct d.doubt order by d.doubt), '{}')
  from (
    select c.place || ' asks for service_role' as doubt
    from code c
    where current_user <> 'service_role' and concat(c.definition, c.prosrc) ~ 'service_role'
      and strpos(concat(c.definition, c.prosrc), current_user) = 0
    union all
    select format('%s may not call %s', c.place, c.oid::regproc)
    from code c
    where not (has_schema_privilege(c.nspname, 'usage') and has_function_privilege(c.oid, 'execute'))
      and c.definition = ''
    union all
    select format('%s may not %s %s', n.place, case n.verb when 'from' then 'read' when 'join' then 'read' else n.verb end, n.name)
    from named n
    where not has_schema_privilege(n.schema, 'usage')
       or not case n.verb
         when 'insert into' then has_any_column_privilege(n.oid, 'insert')
         when 'update' then has_any_column_privilege(n.oid, 'update')
         when 'delete from' then has_table_privilege(n.oid, 'delete')
         else has_any_column_privilege(n.oid, 'select') end
       or row_security_active(n.oid) and not exists (
         select from pg_catalog.pg_policy p
         where p.polrelid = n.oid and p.polpermissive
           and (0 = any (p.polroles) or to_regrole(quote_ident(current_user))::oid = any (p.polroles))
           and p.polcmd::text in ('*', case n.verb when 'insert into' then 'a' when 'update' then 'w' when 'delete from' then 'd' else 'r' end))
    union all
    select c.place || ' composes a statement'
    from code c
    where current_user <> 'service_role' and c.is_source and not c.prosecdef and c.statements ~* '\mexecute\M'
    union all
    select format('constraint %s of %s may not call %s', o.conname, o.conrelid::regclass, d.refobjid::regproc)
    from pg_catalog.pg_constraint o
    join pg_catalog.pg_depend d on d.classid = 'pg_constraint'::regclass and d.objid = o.oid and d.refclassid = 'pg_proc'::regclass
    where o.conrelid in (mux_private.lessons_table(), to_regclass('public.mux_asset_tracking')) and o.contype = 'c'
      and not has_function_privilege(d.refobjid, 'execute')
  ) d
);
comment on function mux_private.trigger_doubts() is
  'What triggers and constraints of the app name that the caller has no right to, one sentence each: they run with its rights when the worker publishes. Empty if none does.';

create or replace function public.worker_doctor() returns jsonb
language sql stable set search_path = public, extensions, pg_temp
return jsonb_build_object(
  'schema_version', public.worker_schema_version(),
  'database_time', extract(epoch from clock_timestamp()),
  'role', current_user,
  'passes_row_security', (select r.rolbypassrls from pg_catalog.pg_roles r where r.rolname = current_user),
  'environment_id', (select s.environment_id from mux_private.worker_state s),
  'missing_files', to_jsonb(mux_private.missing_files()),
  'has_snapshot', exists (select from mux_private.snapshot),
  'differences', to_jsonb(mux_private.differences()),
  'schedule', case when to_regclass('public.mux_asset_tracking') is not null then mux_private.schedule_gaps() end,
  'lessons', mux_private.lessons_table()::text,
  'lessons_problems', to_jsonb(mux_private.lessons_problems()),
  'functions_of_the_app', (
    select coalesce(jsonb_agg(f.function::text order by f.function::text), '[]')
    from mux_private.public_functions() f where not f.is_ours
  ),
  'lessons_denied', mux_private.lessons_denied(),
  'lessons_hidden', to_jsonb(mux_private.lessons_hidden()),
  'role_excess', to_jsonb(mux_private.role_excess()),
  'trigger_doubts', to_jsonb(mux_private.trigger_doubts()),
  'row_level_security', (
    select coalesce(jsonb_object_agg(case when c.oid = mux_private.lessons_table() then 'lessons' else c.relname end, c.relrowsecurity), '{}')
    from pg_catalog.pg_class c
    where c.relkind in ('r', 'p')
      and (c.relnamespace = to_regnamespace('mux_private')
           or c.oid in (mux_private.lessons_table(), to_regclass('public.mux_asset_tracking'),
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
      'mux_worker', coalesce(has_function_privilege(to_regrole('mux_worker'), p.oid, 'execute'), false),
      'others', (
        select coalesce(jsonb_agg(distinct r.rolname), '[]')
        from aclexplode(p.proacl) x join pg_catalog.pg_roles r on r.oid = x.grantee
        where r.oid <> p.proowner and r.rolname not in ('anon', 'authenticated', 'service_role', 'mux_worker')
      )
    ) order by p.proname), '[]')
    from pg_catalog.pg_proc p
    where p.pronamespace = to_regnamespace('mux_private') and p.prokind = 'f'
       or p.oid in (select f.function from mux_private.public_functions() f where f.is_ours)
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
      order by coalesce(t.tracked_at, t.updated_at) desc
      limit 5
    ) r
  )
);
comment on function public.worker_doctor() is
  'For the command doctor: what does not fit about lessons, what differs from what sql/ made, what is protected and granted, what is missing in the schedule, the schema''s version, the database''s clock, and the ids of the latest uploads.';

insert into mux_private.applied_files (name) values ('130_doctor') on conflict do nothing;

commit;
