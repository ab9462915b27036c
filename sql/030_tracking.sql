-- What it does: makes the enum mux_asset_status and the table mux_asset_tracking, one row for each
--   lesson, with the worker's own columns. If the app made such a table before, that is completed
--   and keeps every value; mux_private.of_the_app records how it was. No row is rewritten.
-- Needs: 022.
-- Locks: an existing mux_asset_tracking, access exclusive for a moment (columns). Where it makes the
--   table: the app's table of lessons, share row exclusive for a moment (foreign key).
-- Undo: down/030_tracking.sql (drops the table with its rows; one that the app made before goes back
--   to its earlier state instead)

begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;

-- A table that the app made earlier under this name.
do $$
declare
  problems text;
begin
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
      ('lesson_id', (
        select format_type(k.atttypid, null) from pg_attribute k
        where k.attrelid = 'mux_private.lesson'::regclass and k.attname = 'id'), true),
      ('id', 'uuid', true), ('upload_id', 'text', true), ('temp_asset_id', 'text', true),
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
    select format('column lesson_id does not refer to %s with on delete cascade', mux_private.lessons_table())
    where not exists (
      select from pg_constraint c join pg_attribute a on a.attrelid = c.conrelid and c.conkey = array[a.attnum]
      where c.conrelid = 'public.mux_asset_tracking'::regclass and c.contype = 'f' and c.confdeltype = 'c'
        and c.confrelid = mux_private.lessons_table() and a.attname = 'lesson_id')
  ) p;
  if problems is not null then
    raise exception 'public.mux_asset_tracking does not fit: %', problems
      using hint = 'Another table has this name: rename it or change it, then apply this file again.';
  end if;
end
$$;

set local search_path = '';  -- so that the statements for the undo have qualified names

create table if not exists mux_private.of_the_app (
  place bigint generated always as identity primary key,
  kind text not null,
  statement text not null
);
call mux_private.keep_check('mux_private.of_the_app', 'a_table_or_a_type', $$kind in ('table', 'type')$$);
comment on table mux_private.of_the_app is 'The statements by which down/030 restores mux_asset_tracking, or its type, if the app had made them before. Empty where the worker made both.';
comment on column mux_private.of_the_app.place is 'The order in which the statements are run.';
comment on column mux_private.of_the_app.kind is 'What the app had made: table or type.';
comment on column mux_private.of_the_app.statement is 'What undoes one change of a file of sql/.';
alter table mux_private.of_the_app enable row level security;

-- The state of what this file, 040 and 900 change of a table that the app made: the default of the
-- id, comments, row level security, policies of the same names, grants.
do $$
declare
  tracking constant regclass := to_regclass('public.mux_asset_tracking');
  is_ours constant boolean := exists (
    select from pg_attribute where attrelid = tracking and attname = 'settled_at' and not attisdropped);
begin
  if to_regtype('public.mux_asset_status') is null then
    create type public.mux_asset_status as enum ('processing', 'ready', 'error');
  elsif not is_ours and not exists (select from mux_private.of_the_app where kind = 'type') then
    insert into mux_private.of_the_app (kind, statement) values ('type', format(
      'comment on type public.mux_asset_status is %L', obj_description('public.mux_asset_status'::regtype, 'pg_type')));
  end if;
  if tracking is null or is_ours then
    return;
  end if;

  insert into mux_private.of_the_app (kind, statement)
  select 'table', s.statement
  from (
    select 1, format('comment on table public.mux_asset_tracking is %L', obj_description(tracking, 'pg_class'))
    union all
    select 2, format('comment on column public.mux_asset_tracking.%I is %L', a.attname, col_description(tracking, a.attnum))
    from pg_attribute a where a.attrelid = tracking and a.attnum > 0 and not a.attisdropped
    union all
    select 3, 'alter table public.mux_asset_tracking alter column id ' || coalesce('set default ' || pg_get_expr(d.adbin, d.adrelid), 'drop default')
    from pg_attribute a left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
    where a.attrelid = tracking and a.attname = 'id'
    union all
    select 4, 'alter table public.mux_asset_tracking disable row level security'
    from pg_class c where c.oid = tracking and not c.relrowsecurity
    union all
    select 5, format('drop policy if exists %1$I on public.mux_asset_tracking; create policy %1$I on public.mux_asset_tracking as %2$s for %3$s to %4$s', p.policyname, p.permissive, p.cmd,
        (select string_agg(case r when 'public' then 'public' else quote_ident(r) end, ', ') from unnest(p.roles) r))
      || coalesce(format(' using (%s)', p.qual), '') || coalesce(format(' with check (%s)', p.with_check), '')
    from pg_policies p
    where p.schemaname = 'public' and p.tablename = 'mux_asset_tracking'
      and p.policyname in ('Instructors can manage their own asset tracking records', 'Service role has full access')
    union all
    select 6, format('grant %s%s on public.mux_asset_tracking to %s%s', x.privilege_type, g.of_column,
        coalesce(quote_ident(r.rolname), 'public'), case when x.is_grantable then ' with grant option' else '' end)
    from (
      select c.relacl as acl, '' as of_column from pg_class c where c.oid = tracking
      union all
      select a.attacl, format(' (%I)', a.attname) from pg_attribute a where a.attrelid = tracking
    ) g
    cross join aclexplode(g.acl) x left join pg_roles r on r.oid = x.grantee
    where x.grantee = 0 or r.rolname in ('anon', 'authenticated', 'service_role')
  ) s (part, statement)
  order by s.part;
end
$$;

-- The columns that exist before. Those that exist beside them at the end were added by this file.
create temporary table things_before on commit drop as
select a.attname::text as name from pg_attribute a where a.attrelid = to_regclass('public.mux_asset_tracking');
comment on type public.mux_asset_status is 'Where a lesson''s upload stands: processing, ready (the lesson has its video) or error.';

create table if not exists public.mux_asset_tracking (
  id uuid default gen_random_uuid() primary key,
  like mux_private.lesson_key,
  upload_id text not null,
  temp_asset_id text,
  mux_asset_id text,
  mux_playback_id text,
  status public.mux_asset_status not null default 'processing',
  error_message text,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  unique (lesson_id)
);
do $$
begin
  if not exists (
    select from pg_constraint where conrelid = 'public.mux_asset_tracking'::regclass and contype = 'f'
      and confrelid = mux_private.lessons_table()
  ) then
    alter table public.mux_asset_tracking alter column lesson_id set not null;
    execute format(
      'alter table public.mux_asset_tracking add foreign key (lesson_id) references %s (%I) on delete cascade',
      mux_private.lessons_table(), mux_private.lesson_options() ->> 'key');
  end if;
end
$$;
alter table public.mux_asset_tracking enable row level security;
alter table public.mux_asset_tracking alter column id set default gen_random_uuid();

-- All of them are nullable and without a default at first, so that no row is rewritten. When the
-- upload of an older row began is not known: where tracked_at is null, updated_at is used instead.
alter table public.mux_asset_tracking
  add column if not exists error_type text,
  add column if not exists tracked_at timestamptz,
  add column if not exists settled_at timestamptz,
  add column if not exists duration_seconds double precision,
  add column if not exists aspect_ratio text,
  add column if not exists max_resolution text;
alter table public.mux_asset_tracking alter column tracked_at set default now();

comment on table public.mux_asset_tracking is 'One row for each lesson: its current upload to Mux, and how far it is.';
comment on column public.mux_asset_tracking.id is 'Identifies the row.';
comment on column public.mux_asset_tracking.lesson_id is 'The lesson that waits for the video.';
comment on column public.mux_asset_tracking.upload_id is 'The Mux direct upload; ''migrated'' where it is not known and the asset is.';
comment on column public.mux_asset_tracking.temp_asset_id is 'The app''s placeholder (temp_…) of this upload. Never an asset id.';
comment on column public.mux_asset_tracking.mux_asset_id is 'The Mux asset, once it is known.';
comment on column public.mux_asset_tracking.mux_playback_id is 'The playback id that was published.';
comment on column public.mux_asset_tracking.status is 'processing, ready or error.';
comment on column public.mux_asset_tracking.error_message is 'Why it failed and what to do, in sentences for the instructor.';
comment on column public.mux_asset_tracking.error_type is 'Why it failed, in one word: asset_errored, upload_timed_out, gave_up … On a processing row: refused, the database did not take the last verdict. On a ready row: playback_ids_withdrawn or asset_deleted, its video can no longer be played.';
comment on column public.mux_asset_tracking.created_at is 'When the row was made.';
comment on column public.mux_asset_tracking.updated_at is 'When its status or its ids last changed.';
comment on column public.mux_asset_tracking.tracked_at is 'When this upload began to be tracked; all ages are counted from here. Null in rows from before the worker: there updated_at counts.';
comment on column public.mux_asset_tracking.settled_at is 'When it became ready or failed.';
comment on column public.mux_asset_tracking.duration_seconds is 'How long the video is, in seconds, as Mux said when it was published.';
comment on column public.mux_asset_tracking.aspect_ratio is 'Width to height of the video, such as 16:9, as Mux said when it was published.';
comment on column public.mux_asset_tracking.max_resolution is 'The highest resolution in which the video is stored, such as HD, as Mux said when it was published.';

insert into mux_private.of_the_app (kind, statement)
select 'table', s.statement
from (
  select 1, format('alter table public.mux_asset_tracking drop column if exists %I', a.attname), a.attname::text
  from pg_attribute a where a.attrelid = 'public.mux_asset_tracking'::regclass and not a.attisdropped
) s (part, statement, name)
where exists (select from mux_private.of_the_app o where o.kind = 'table')
  and not exists (select from things_before b where b.name = s.name)
order by s.part;

insert into mux_private.applied_files (name) values ('030_tracking') on conflict do nothing;

commit;
