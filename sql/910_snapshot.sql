-- What it does: records what sql/ made, for the doctor to compare with. Apply it last, also after a
--   single file was applied again or undone: it takes the present state of the database as right.
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

insert into mux_private.applied_files (name) values ('910_snapshot') on conflict do nothing;

commit;
notify pgrst, 'reload schema';
