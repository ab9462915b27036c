-- What it does: checks that the database has what the other files stand on, and makes the
--   private schema in which they keep what nobody may call or read from outside.
-- Needs: a role that owns `public.lessons` and may create a schema (on Supabase: `postgres`).
-- Locks: none that anybody waits for.
-- Undo: down/001_preconditions.sql

begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;

do $$
declare
  problems text[] := '{}';
  wanted record;
  found_type text;
  labels text[];
begin
  if to_regclass('public.lessons') is null then
    raise exception 'table public.lessons does not exist'
      using hint = 'It belongs to the app: create it first, then apply this file again.';
  end if;

  for wanted in
    select *
    from (values
      ('id', 'uuid'), ('creator_id', 'uuid'), ('status', null), ('mux_asset_id', 'text'),
      ('mux_playback_id', 'text'), ('updated_at', 'timestamp with time zone')
    ) as w (name, type)
  loop
    select format_type(a.atttypid, null) into found_type
    from pg_attribute a
    where a.attrelid = 'public.lessons'::regclass and a.attname = wanted.name and not a.attisdropped;

    if found_type is null then
      problems := problems || format('column %s is missing', wanted.name);
    elsif wanted.type = 'text' and found_type not in ('text', 'character varying')
       or wanted.type <> 'text' and found_type <> wanted.type then
      problems := problems || format('column %s is %s and should be %s', wanted.name, found_type, wanted.type);
    end if;
  end loop;

  select array_agg(e.enumlabel::text) into labels
  from pg_attribute a join pg_enum e on e.enumtypid = a.atttypid
  where a.attrelid = 'public.lessons'::regclass and a.attname = 'status';
  if labels is not null and not labels @> array['draft', 'published'] then
    problems := problems || format('the enum of column status has %s and should have draft and published', labels);
  end if;

  if not exists (
    select 1 from pg_index i join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
    where i.indrelid = 'public.lessons'::regclass and i.indisunique and i.indnkeyatts = 1
      and i.indpred is null and a.attname = 'id'
  ) then
    problems := problems || 'column id is no primary key'::text;
  end if;

  if not (select pg_has_role(current_user, c.relowner, 'usage')
          from pg_class c where c.oid = 'public.lessons'::regclass) then
    problems := problems || format('%s does not own it, so it may neither refer to it nor grant on it', current_user);
  end if;

  if problems <> '{}' then
    raise exception 'public.lessons does not fit: %', array_to_string(problems, '; ')
      using hint = 'Change the table, or apply the files as its owner, then apply this file again.';
  end if;
end
$$;

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

create table if not exists mux_private.applied_files (
  name text primary key,
  applied_at timestamptz not null default now()
);
comment on table mux_private.applied_files is 'The files of sql/ that were applied to this database.';
comment on column mux_private.applied_files.name is 'Name of the file, with its number.';
comment on column mux_private.applied_files.applied_at is 'When it was applied first.';
alter table mux_private.applied_files enable row level security;
revoke all on mux_private.applied_files from public, anon, authenticated, service_role;

insert into mux_private.applied_files (name) values ('001_preconditions') on conflict do nothing;

commit;
