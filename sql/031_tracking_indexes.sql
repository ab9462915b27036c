-- What it does: makes the indexes of mux_asset_tracking. Where one is missing and the table is large
--   (a hundred thousand rows, or 32 MB), it stops and names optional/tracking_indexes.sql, which makes
--   them while the app goes on writing.
-- Needs: 030.
-- Locks: mux_asset_tracking, share (no writes) while an index of a smaller table is made.
-- Undo: down/031_tracking_indexes.sql

begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;

do $$
declare
  wanted record;
  is_large constant boolean := (
    select c.reltuples > 100000 or pg_relation_size(c.oid) > 32 * 1024 * 1024
    from pg_class c where c.oid = 'public.mux_asset_tracking'::regclass);
begin
  for wanted in
    select w.* from (values
      ('idx_mux_asset_tracking_upload_id', '(upload_id)'),
      ('idx_mux_asset_tracking_temp_asset_id', '(temp_asset_id)'),
      ('idx_mux_asset_tracking_mux_asset_id', '(mux_asset_id) where mux_asset_id is not null'),
      ('idx_mux_asset_tracking_failed', '(coalesce(settled_at, ''epoch''), id) where status = ''error'''),
      ('idx_mux_asset_tracking_unplayable', '(updated_at, id) where status = ''ready'' and error_type is not null')
    ) w (name, definition)
    where not exists (
      select from pg_index i where i.indexrelid = to_regclass('public.' || w.name) and i.indisvalid)
    order by w.name desc
  loop
    if to_regclass('public.' || wanted.name) is not null then
      raise exception 'index % is invalid: making it concurrently was interrupted', wanted.name
        using hint = format('Drop it, make it again, then apply this file again: drop index concurrently public.%I', wanted.name);
    elsif is_large then
      raise exception 'index % is missing, and writes would wait while it is made', wanted.name
        using hint = 'Make the indexes while the app goes on writing, then apply this file again: psql -f sql/optional/tracking_indexes.sql';
    end if;
    execute format('create index %I on public.mux_asset_tracking %s', wanted.name, wanted.definition);
    insert into mux_private.of_the_app (kind, statement)
    select 'table', format('drop index if exists public.%I', wanted.name)
    where exists (select from mux_private.of_the_app o where o.kind = 'table');
  end loop;
end
$$;

insert into mux_private.applied_files (name) values ('031_tracking_indexes') on conflict do nothing;

commit;
