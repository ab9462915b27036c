-- What it does: records what sql/ made, for the doctor to compare with, and the version of sql/ that
--   was applied. Apply it last, also after a single file was applied again or undone: it takes the
--   present state of the database as right.
-- Needs: 900.
-- Locks: none.
-- Undo: down/910_snapshot.sql

begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;

delete from mux_private.snapshot s
where not exists (
  select from mux_private.objects() o where (o.kind, o.name, o.state) = (s.kind, s.name, s.state));
insert into mux_private.snapshot (kind, name, state)
select o.kind, o.name, o.state from mux_private.objects() o
on conflict do nothing;

-- The version of sql/. A change of sql/ that a worker relies on increases it, and what the worker
-- requires (REQUIRED_SCHEMA in worker/supabase/errors.py).
insert into mux_private.applied_files (name, schema_version) values ('910_snapshot', 1)
on conflict (name) do update set schema_version = excluded.schema_version;

commit;
notify pgrst, 'reload schema';
