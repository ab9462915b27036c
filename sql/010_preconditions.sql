-- What it does: checks that the database has what the other files need, and makes the private
--   schema, which the API does not expose, with the list of the files that are applied. What does
--   not fit is named, with what to do.
-- Needs: a role that owns `public` and may create a schema (on Supabase: `postgres`).
-- Locks: none. Applied again: the worker's own table, access exclusive for a moment.
-- Undo: down/010_preconditions.sql

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
  if to_regprocedure('auth.jwt()') is null then
    raise exception 'function auth.jwt() does not exist'
      using hint = 'It comes with Supabase: is this a Supabase database?';
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
revoke all on schema mux_private from public, anon, authenticated;

create table if not exists mux_private.applied_files (
  name text primary key,
  applied_at timestamptz not null default now(),
  schema_version bigint
);
comment on table mux_private.applied_files is 'The files of sql/ that were applied to this database.';
comment on column mux_private.applied_files.name is 'Name of the file, with its number.';
comment on column mux_private.applied_files.applied_at is 'When it was applied first.';
comment on column mux_private.applied_files.schema_version is 'Of the last file: the version of sql/ that was applied. Null in the others.';
alter table mux_private.applied_files enable row level security;

-- Our functions are known by their comments, and by their search_path: where the app replaces one of
-- them, "create or replace" keeps the comment and resets the search_path.
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
      'worker_acquire_requests', 'worker_adopt', 'worker_backfill_begin', 'worker_backfill_candidates',
      'worker_backfill_end', 'worker_backfill_failures', 'worker_backfill_progress', 'worker_claim',
      'worker_doctor', 'worker_failures', 'worker_find_lessons', 'worker_lesson', 'worker_lesson_events',
      'worker_list_lessons', 'worker_make_due',
      'worker_note_events', 'worker_overview', 'worker_prune_events', 'worker_publish',
      'worker_record_refusal', 'worker_release', 'worker_retry', 'worker_schema_version', 'worker_settle',
      'worker_slow_down', 'worker_summary', 'worker_untracked');
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
    execute format('drop routine %s', ours);
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
  'For the files of sql/down: drops the functions and procedures of these names that sql/ made, in this order, then tables, then types, and forgets that a file was applied.';

-- A definition is compared as Postgres writes it, so a trial table has it too.
create or replace procedure mux_private.keep_check(p_table regclass, p_name text, p_condition text)
language plpgsql set search_path = public, extensions, pg_temp as $$
declare
  wanted text;
begin
  execute format('create temporary table check_trial (like %s)', p_table);
  execute format('alter table pg_temp.check_trial add constraint %I check (%s)', p_name, p_condition);
  select pg_get_constraintdef(c.oid) into wanted
  from pg_catalog.pg_constraint c where c.conrelid = 'pg_temp.check_trial'::regclass and c.conname = p_name;
  drop table pg_temp.check_trial;
  if exists (
    select from pg_catalog.pg_constraint c
    where c.conrelid = p_table and c.conname = p_name and pg_get_constraintdef(c.oid) = wanted
  ) then
    return;
  end if;
  execute format('alter table %s drop constraint if exists %I', p_table, p_name);
  execute format('alter table %s add constraint %I check (%s)', p_table, p_name, p_condition);
end
$$;
comment on procedure mux_private.keep_check is
  'For the files of sql/: gives a table a check constraint of this name where it has none, or another.';

do $$
declare
  others text;
begin
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
end
$$;

insert into mux_private.applied_files (name) values ('010_preconditions') on conflict do nothing;

commit;
