-- What it does: checks that the database has what the other files need, and makes the private
--   schema for what nothing outside may call or read. What does not fit is named, with what to do.
-- Needs: a role that owns `public.lessons` and may create a schema (on Supabase: `postgres`).
-- Locks: none that anybody waits for.
-- Undo: down/001_preconditions.sql

begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;

do $$
declare
  missing text;
begin
  select string_agg(quote_ident(r), ', ' order by r) into missing
  from unnest(array['anon', 'authenticated', 'service_role']) r
  where not exists (select 1 from pg_roles where rolname = r);
  if missing is not null then
    raise exception 'these roles do not exist: %', missing
      using hint = 'They come with Supabase: is this a Supabase database?';
  end if;
  if to_regprocedure('auth.uid()') is null then
    raise exception 'function auth.uid() does not exist'
      using hint = 'It comes with Supabase: is this a Supabase database?';
  end if;
  if to_regclass('public.lessons') is null then
    raise exception 'table public.lessons does not exist'
      using hint = 'It belongs to the app: create it first, then apply this file again.';
  end if;
  if to_regnamespace('mux_private') is null
     and not has_database_privilege(current_user, current_database(), 'create') then
    raise exception '% may not create a schema in database %', current_user, current_database()
      using hint = 'Apply the files as the owner of the database (on Supabase: postgres).';
  end if;
end
$$;

create schema if not exists mux_private;
comment on schema mux_private is 'The Mux worker''s inside: never exposed by the API.';
revoke all on schema mux_private from public;
grant usage on schema mux_private to service_role;

-- What is read of a lesson is kept as texts: a connection that keeps the plan of an expression over a
-- row of lessons fails once the app has changed a column's type.
do $$
begin
  if to_regtype('mux_private.lesson') is null then
    create type mux_private.lesson as (id uuid, owner uuid, status text, asset_id text, playback_id text);
  end if;
end
$$;
comment on type mux_private.lesson is 'What is read of a lesson.';

create table if not exists mux_private.applied_files (
  name text primary key,
  applied_at timestamptz not null default now()
);
comment on table mux_private.applied_files is 'The files of sql/ that were applied to this database.';
comment on column mux_private.applied_files.name is 'Name of the file, with its number.';
comment on column mux_private.applied_files.applied_at is 'When it was applied first.';
alter table mux_private.applied_files enable row level security;
revoke all on mux_private.applied_files from public, anon, authenticated, service_role;
grant select on mux_private.applied_files to service_role;

-- The comment tells ours from a function that the app made under the same name. "create or replace"
-- keeps a comment and resets the search_path, so that tells ours from one that the app replaced.
create or replace function mux_private.public_functions() returns table (function regprocedure, is_ours boolean)
language sql stable set search_path = pg_catalog, pg_temp
begin atomic
  select p.oid::regprocedure,
    coalesce(obj_description(p.oid, 'pg_proc') like 'For the %', false)
      and coalesce(array_to_string(p.proconfig, ';') ~ 'search_path=[^;]*pg_temp', false)
  from pg_catalog.pg_proc p
  where p.pronamespace = to_regnamespace('public')
    and p.proname in (
      'check_asset_status', 'publish_lesson', 'track_upload',
      'worker_acquire_requests', 'worker_adopt', 'worker_backfill_begin', 'worker_backfill_findings',
      'worker_backfill_note', 'worker_claim', 'worker_doctor', 'worker_find_lessons',
      'worker_legacy_lessons', 'worker_lesson', 'worker_lesson_events', 'worker_make_due',
      'worker_note_events', 'worker_overview', 'worker_prune_events', 'worker_publish',
      'worker_record_refusal', 'worker_release', 'worker_retry', 'worker_rivals',
      'worker_schema_version', 'worker_settle', 'worker_slow_down', 'worker_status', 'worker_summary',
      'worker_take_note', 'worker_untracked');
end;
comment on function mux_private.public_functions() is
  'The functions in public that have a name of the worker''s, of any signature, and whether sql/ made them.';

create or replace procedure mux_private.undo(
  file text, functions text[] default '{}', tables text[] default '{}', types text[] default '{}'
)
language plpgsql set search_path = public, extensions, pg_temp as $$
declare
  ours regprocedure;
  those text;
begin
  for ours in
    select p.oid::regprocedure
    from unnest(functions) with ordinality n (name, place)
    join pg_catalog.pg_proc p on p.proname = n.name
    where p.pronamespace = to_regnamespace('mux_private')
       or p.oid in (select f.function from mux_private.public_functions() f where f.is_ours)
    order by n.place
  loop
    execute format('drop function %s', ours);
  end loop;
  for those in select t.name from unnest(tables) t (name) loop
    execute format('drop table if exists %s', those);
  end loop;
  for those in select t.name from unnest(types) t (name) loop
    execute format('drop type if exists %s', those);
  end loop;
  delete from mux_private.applied_files f where f.name = undo.file;
exception when dependent_objects_still_exist then
  get stacked diagnostics those = pg_exception_detail;
  raise exception using errcode = 'dependent_objects_still_exist', message = sqlerrm, detail = those,
    hint = 'Undo the later files of sql/ first, the last one first.';
end
$$;
comment on procedure mux_private.undo is
  'For the files of sql/down: drops the functions of these names that sql/ made, in this order, then tables and types, and forgets that a file was applied.';

-- In plpgsql, so that nothing here depends on a column of the app's. What types and check constraints
-- allow is tried by evaluating them: a cast cuts what is too long, and raises for what is no value.
create or replace function mux_private.lessons_refuse(word text) returns text[]
language plpgsql stable set search_path = public, extensions, pg_temp as $$
declare
  mux_id constant text := repeat('Mux0', 16);  -- of 64 characters; Mux's own have about 45
  kinds jsonb;
  held text;
  tried record;
  problems text[] := '{}';
begin
  select jsonb_object_agg(a.attname, format_type(a.atttypid, a.atttypmod)) into kinds
  from pg_catalog.pg_attribute a
  where a.attrelid = to_regclass('public.lessons') and a.attnum > 0 and not a.attisdropped;

  for tried in
    select t.* from (values ('status', word, word), ('mux_asset_id', mux_id, 'a Mux id of 64 characters'),
      ('mux_playback_id', mux_id, 'a Mux id of 64 characters')) t (name, value, in_words)
    where word = 'published' or t.name = 'status'
  loop
    begin
      execute format('select %L::%s::text', tried.value, kinds ->> tried.name) into held;
    exception when others then
      held := null;
    end;
    if held is distinct from tried.value then
      problems := problems || format('column %s is %s and cannot hold %s', tried.name, kinds ->> tried.name, tried.in_words);
    end if;
  end loop;
  if problems <> '{}' then
    return problems;
  end if;

  for tried in  -- the constraints that read nothing but what is written; of a draft the ids are the app's
    select c.conname as name, pg_get_expr(c.conbin, c.conrelid) as expression,
      case when c.reads = array['status'] then 'status ' || word else 'a published lesson with Mux ids' end as in_words
    from (
      select c.*, array(
        select coalesce(a.attname::text, '*')
        from unnest(c.conkey) k left join pg_catalog.pg_attribute a on a.attrelid = c.conrelid and a.attnum = k) as reads
      from pg_catalog.pg_constraint c
      where c.conrelid = to_regclass('public.lessons') and c.contype = 'c'
        and to_jsonb(c) ->> 'conenforced' is distinct from 'false'
    ) c
    where c.reads <@ case word when 'published' then array['status', 'mux_asset_id', 'mux_playback_id', 'updated_at'] else array['status'] end
    order by c.conname
  loop
    begin
      execute format(
        'select (%s) is not false from (select %L::%s as status, %L::%s as mux_asset_id, %4$L::%6$s as mux_playback_id, now()::%7$s as updated_at) l',
        tried.expression, word, kinds ->> 'status', left(mux_id, 44), kinds ->> 'mux_asset_id',
        kinds ->> 'mux_playback_id', kinds ->> 'updated_at') into held;
    exception when others then
      held := null;  -- not to be judged from here
    end;
    if held = 'false' then
      problems := problems || format('check constraint %s does not allow %s', tried.name, tried.in_words);
    end if;
  end loop;
  return problems;
end
$$;
comment on function mux_private.lessons_refuse is
  'Why lessons cannot hold a status, and for published Mux ids beside it: the types of its columns, and the check constraints that read no other. Empty if it can.';

create or replace function mux_private.lessons_problems() returns text[]
language plpgsql stable set search_path = public, extensions, pg_temp as $$
declare
  lessons pg_catalog.pg_class;
  wanted record;
  words text[];
  problems text[] := '{}';
begin
  select c.* into lessons from pg_catalog.pg_class c where c.oid = to_regclass('public.lessons');
  if lessons.oid is null then
    return array['it does not exist'];
  elsif lessons.relkind not in ('r', 'p') then
    return array[format('it is a %s and should be a table',
      case lessons.relkind when 'v' then 'view' when 'm' then 'materialized view' else 'foreign table' end)];
  end if;

  for wanted in
    select w.*, format_type(a.atttypid, a.atttypmod) as found, a.attgenerated <> '' as is_generated, base.*
    from (values
      ('id', 'uuid'), ('creator_id', 'uuid'), ('status', null), ('mux_asset_id', 'text'),
      ('mux_playback_id', 'text'), ('updated_at', 'timestamp with time zone')
    ) w (name, type)
    left join pg_catalog.pg_attribute a on a.attrelid = lessons.oid and a.attname = w.name and not a.attisdropped
    left join lateral (  -- of a domain, what it is made of
      with recursive types as (
        select t.* from pg_catalog.pg_type t where t.oid = a.atttypid
        union all
        select t.* from types d join pg_catalog.pg_type t on t.oid = d.typbasetype where d.typtype = 'd'
      )
      select format_type(t.oid, null) as base, t.typtype = 'e' or t.typcategory = 'S' as has_words
      from types t where t.typtype <> 'd'
    ) base on true
    order by w.name
  loop
    if wanted.found is null then
      problems := problems || format('column %s is missing', wanted.name);
    elsif wanted.type is null and not wanted.has_words then
      problems := problems || format('column %s is %s and should be text or an enum', wanted.name, wanted.found);
    elsif wanted.type = 'text' and wanted.base not in ('text', 'character varying')
       or wanted.type <> 'text' and wanted.base <> wanted.type then
      problems := problems || format('column %s is %s and should be %s', wanted.name, wanted.found, wanted.type);
    elsif wanted.is_generated and wanted.name not in ('id', 'creator_id') then
      problems := problems || format('column %s is generated and cannot be written', wanted.name);
    end if;
  end loop;

  if not exists (
    select 1 from pg_catalog.pg_index i join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
    where i.indrelid = lessons.oid and i.indisunique and i.indisvalid and i.indimmediate
      and i.indnkeyatts = 1 and i.indpred is null and a.attname = 'id'
  ) then
    problems := problems || 'column id is no primary key'::text;
  end if;
  if problems <> '{}' then
    return problems;
  end if;

  problems := mux_private.lessons_refuse('draft') || mux_private.lessons_refuse('published');
  -- Where nothing restricts the words, the rows tell: a thousand pages at most, taken at random.
  if problems = '{}' and mux_private.lessons_refuse('neither') = '{}'
     and has_table_privilege(lessons.oid, 'select') then
    select array_agg(distinct left(s.word, 30)) into words
    from (
      select coalesce(l.status::text, 'null') as word
      from public.lessons l tablesample system (least(100, 100000.0 / greatest(lessons.relpages, 1)))
      limit 100000
    ) s;
    if not words && array['draft', 'published'] then
      problems := array[format('none of its rows has the status draft or published: they have %s', array_to_string(words[1:3], ', '))];
    end if;
  end if;
  return problems;
end
$$;
comment on function mux_private.lessons_problems() is
  'What the worker cannot serve about the table lessons as it is now, one sentence each; empty if it can. For the install and the doctor.';

revoke execute on function mux_private.public_functions() from public, anon, authenticated;
revoke execute on procedure mux_private.undo from public, anon, authenticated;
revoke execute on function mux_private.lessons_refuse from public, anon, authenticated;
revoke execute on function mux_private.lessons_problems() from public, anon, authenticated;
grant execute on function mux_private.public_functions() to service_role;
grant execute on function mux_private.lessons_refuse to service_role;
grant execute on function mux_private.lessons_problems() to service_role;

-- Whatever does not fit undoes all of this file.
do $$
declare
  problems text[] := mux_private.lessons_problems();
  others text;
begin
  if not (select pg_has_role(current_user, c.relowner, 'usage')
          from pg_class c where c.oid = 'public.lessons'::regclass) then
    problems := problems || format('%s does not own it, so it may neither refer to it nor grant on it', current_user);
  end if;
  if problems <> '{}' then
    raise exception 'public.lessons does not fit: %', array_to_string(problems, '; ')
      using hint = 'Change the table, or apply the files as its owner, then apply this file again.';
  end if;

  select string_agg(f.function::text, ', ' order by f.function::text) into others
  from mux_private.public_functions() f where not f.is_ours;
  if others is not null then
    raise exception 'schema public has functions of the app under names that the worker needs: %', others
      using hint = 'PostgREST could not tell them from the worker''s. Rename or drop them and change what calls them, then apply this file again.';
  end if;
end
$$;

-- A table or type that the app made earlier under one of our names.
do $$
declare
  problems text;
  labels text[];
begin
  select array_agg(enumlabel::text order by enumsortorder) into labels
  from pg_enum where enumtypid = to_regtype('public.mux_asset_status');
  if to_regtype('public.mux_asset_status') is not null and labels is distinct from array['processing', 'ready', 'error'] then
    raise exception 'type mux_asset_status has the values %, not processing, ready, error', labels
      using hint = 'Another type has this name: rename it, then apply this file again.';
  end if;

  if to_regclass('public.mux_asset_events') is not null
     and to_regproc('mux_private.record_event') is null then
    raise exception 'public.mux_asset_events exists and is not the worker''s'
      using hint = 'The worker needs this name: rename it, then apply this file again.';
  end if;

  if to_regclass('public.mux_asset_tracking') is null then
    return;
  end if;
  select string_agg(p.problem, '; ' order by p.problem) into problems
  from (
    select 'it is no table' as problem
    from pg_class c where c.oid = 'public.mux_asset_tracking'::regclass and c.relkind <> 'r'
    union all
    select case when a.attname is null then format('column %s is missing', w.name)
      else format('column %s is %s and should be %s', w.name, format_type(a.atttypid, a.atttypmod), w.type) end
    from (values
      ('id', 'uuid', true), ('lesson_id', 'uuid', true), ('upload_id', 'text', true), ('temp_asset_id', 'text', true),
      ('mux_asset_id', 'text', true), ('mux_playback_id', 'text', true), ('status', 'public.mux_asset_status', true),
      ('error_message', 'text', true), ('created_at', 'timestamp with time zone', true),
      ('updated_at', 'timestamp with time zone', true),
      ('tracked_at', 'timestamp with time zone', false), ('error_type', 'text', false),
      ('settled_at', 'timestamp with time zone', false), ('duration_seconds', 'double precision', false),
      ('aspect_ratio', 'text', false), ('max_resolution', 'text', false)
    ) w (name, type, is_needed)
    left join pg_attribute a on a.attrelid = 'public.mux_asset_tracking'::regclass and a.attname = w.name and not a.attisdropped
    where a.attname is null and w.is_needed or a.attname is not null and a.atttypid is distinct from to_regtype(w.type)
    union all
    select format('column %s is not unique', k.name)
    from (values ('id'), ('lesson_id')) k (name)
    where not exists (
      select from pg_index i join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
      where i.indrelid = 'public.mux_asset_tracking'::regclass and i.indisunique and i.indisvalid and i.indimmediate
        and i.indnkeyatts = 1 and i.indpred is null and a.attname = k.name)
    union all
    select 'column lesson_id does not refer to lessons with on delete cascade'
    where not exists (
      select from pg_constraint c join pg_attribute a on a.attrelid = c.conrelid and c.conkey = array[a.attnum]
      where c.conrelid = 'public.mux_asset_tracking'::regclass and c.contype = 'f' and c.confdeltype = 'c'
        and c.confrelid = 'public.lessons'::regclass and a.attname = 'lesson_id')
  ) p;
  if problems is not null then
    raise exception 'public.mux_asset_tracking does not fit: %', problems
      using hint = 'Another table has this name: rename it or change it, then apply this file again.';
  end if;
end
$$;

insert into mux_private.applied_files (name) values ('001_preconditions') on conflict do nothing;

commit;
