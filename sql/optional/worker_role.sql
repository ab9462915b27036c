-- What it does: makes the role mux_worker, for a worker that is not to have the key of service_role, and
--   grants it what the worker needs: single columns of the app's table of lessons, and what sql/ made.
--   It reaches nothing else. docs/database.md has the rest: how to make its key, and what the app's own
--   triggers and policies need.
--   The app owns the table of lessons. It gets two policies, "mux_worker can read all rows" and
--   "mux_worker can update all rows", which change nothing for other roles.
--   Printed by: mux-worker sql --optional worker_role
-- Needs: all numbered files; a role that may create roles (on Supabase: postgres). Apply it again after
--   the table of lessons or the options have changed. (A new version of sql/ grants by itself what it adds.)
-- Locks: the table of lessons, and what 900 locks, access exclusive for a moment (policies).
-- Undo: down/optional_worker_role.sql

begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;

-- A role belongs to the whole server: where it has several databases, the first makes it.
do $$
declare
  excess text[];
begin
  if to_regclass('mux_private.applied_files') is null
     or to_regprocedure('mux_private.open_to_worker_role()') is null
     or to_regprocedure('mux_private.role_excess()') is null then
    raise exception 'the files of sql/ are not applied'
      using hint = 'Apply all files of sql/ first, then this file.';
  end if;
  begin
    if to_regrole('mux_worker') is null then
      create role mux_worker nologin noinherit;
    end if;
  exception when duplicate_object or unique_violation then
    null;  -- it was made for another database just now
  end;
  excess := mux_private.role_excess();
  if excess <> '{}' then
    raise exception 'role mux_worker exists already, and %', array_to_string(excess, ', and ')
      using hint = 'The worker''s role has no rights but those that this file grants. Rename the other role, or take these rights from it.';
  end if;
  begin
    if not exists (
      select from pg_auth_members m where m.roleid = 'mux_worker'::regrole and m.member = 'authenticator'::regrole
    ) then
      grant mux_worker to authenticator;
    end if;
  exception when unique_violation then
    null;
  end;
end
$$;

-- The app's table of lessons: these columns, whatever was granted before.
revoke all on public.lessons from mux_worker;
grant select (id, creator_id, status, mux_asset_id, mux_playback_id, updated_at) on public.lessons to mux_worker;
grant update (status, mux_asset_id, mux_playback_id, updated_at) on public.lessons to mux_worker;
do $$
begin
  if exists (
    select from pg_attribute a
    where a.attrelid = mux_private.lessons_table() and a.attname = 'title' and not a.attisdropped
  ) then
    grant select (title) on public.lessons to mux_worker;
  end if;
end
$$;
drop policy if exists "mux_worker can read all rows" on public.lessons;
create policy "mux_worker can read all rows" on public.lessons for select to mux_worker using (true);
drop policy if exists "mux_worker can update all rows" on public.lessons;
create policy "mux_worker can update all rows" on public.lessons for update to mux_worker using (true) with check (true);

-- What sql/ made.
call mux_private.open_to_worker_role();

-- The doctor compares with the snapshot, which 910 took without the role.
do $$
begin
  if exists (select from mux_private.snapshot) then
    delete from mux_private.snapshot s where strpos(s.name, 'mux_worker') > 0;
    insert into mux_private.snapshot (kind, name, state)
    select o.kind, o.name, o.state from mux_private.objects() o where strpos(o.name, 'mux_worker') > 0;
  end if;
end
$$;

insert into mux_private.applied_files (name) values ('worker_role') on conflict do nothing;

commit;
notify pgrst, 'reload schema';
