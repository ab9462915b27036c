-- What it does: makes worker_prune_events, which removes audit rows that are older than
--   EVENT_RETENTION_DAYS, and superseded ids that Mux never knew from the upload history.
-- Needs: 032, 050.
-- Locks: none. (The function locks the rows that it deletes.)
-- Undo: down/120_retention.sql

begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;

-- Security definer: this function is the only way to delete from the audit. A person who has stolen the
-- worker's key can call it too: what they did stays in the audit for a month at least. Ids grow with time:
-- the first few rows show whether there is anything to do, however large the table is, or was when this
-- connection began.
create or replace function mux_private.prune_events(p_older_than_days integer, p_at_most integer) returns integer
language plpgsql security definer set search_path = public, extensions, pg_temp set enable_seqscan = off set jit = off as $$
#variable_conflict use_column
declare
  pruned integer;
begin
  if (p_older_than_days between 30 and 36500 and p_at_most between 1 and 1000) is not true then
    raise sqlstate 'PT400' using
      message = 'worker_prune_events needs older_than_days (30 to 36500) and at_most (1 to 1000)';
  end if;
  delete from public.mux_asset_events e
  where e.id = any (array(
    select oldest.id
    from (select o.id, o.happened_at from public.mux_asset_events o order by o.id limit p_at_most) oldest
    where oldest.happened_at < now() - make_interval(days => p_older_than_days)
  ));
  get diagnostics pruned = row_count;
  -- Of the upload history, ids that Mux never knew and that no row tracks.
  delete from mux_private.upload_history h
  where h.id = any (array(
    select o.id from mux_private.upload_history o
    where not o.is_known and o.heard_at < now() - make_interval(days => p_older_than_days)
      and not exists (
        select from public.mux_asset_tracking t where t.id = o.tracking_id and mux_private.key_of(t.upload_id, t.mux_asset_id) = o.mux_id)
    order by o.heard_at limit p_at_most for update skip locked
  ));
  return pruned;
end
$$;
comment on function mux_private.prune_events is 'Does what worker_prune_events promises, with the owner''s rights.';

create or replace function public.worker_prune_events(
  older_than_days integer default null, at_most integer default null
) returns integer
language plpgsql set search_path = public, extensions, pg_temp as $$
begin
  return mux_private.prune_events(older_than_days, at_most);
end
$$;
comment on function public.worker_prune_events is
  'For the worker: removes audit rows that are older than a number of days (at least 30), the oldest first, up to a limit (1 to 1000). Returns how many it removed; called until that is 0, it removes all. Each call also removes, up to the same limit, ids from the upload history that were superseded as long ago and that Mux never knew.';

insert into mux_private.applied_files (name) values ('120_retention') on conflict do nothing;

commit;
