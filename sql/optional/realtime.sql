-- What it does: adds mux_asset_tracking to the publication of Supabase Realtime, for an app that
--   subscribes to its rows instead of calling check_asset_status from time to time.
-- Needs: 040, 900; Realtime, with its publication supabase_realtime.
-- Locks: mux_asset_tracking, share update exclusive for a moment: no query waits.
-- Costs: Realtime checks every change of a row against the policies, once per subscriber, also for
--   those who may not see it. As a rule an upload changes its row three times: when it is tracked,
--   when its asset is known, and when it is ready or failed. A look that settles nothing writes no
--   row of it, and sends nothing. Subscribe with the filter lesson_id=eq.… No policy is checked for
--   deletes: the id of a deleted row goes to every subscriber. With many subscribers
--   check_asset_status is cheaper.
-- Undo: alter publication supabase_realtime drop table public.mux_asset_tracking;

begin;
set local lock_timeout = '5s';

do $$
declare
  publication pg_publication;
begin
  select p.* into publication from pg_publication p where p.pubname = 'supabase_realtime';
  if not found then
    raise exception 'publication supabase_realtime does not exist'
      using hint = 'It comes with Supabase Realtime: is Realtime switched on? Where it was dropped, "create publication supabase_realtime" creates it again.';
  end if;
  if to_regclass('public.mux_asset_tracking') is null then
    raise exception 'table public.mux_asset_tracking does not exist'
      using hint = 'Apply the files of sql/ first.';
  end if;
  if publication.puballtables or exists (
    select 1 from pg_publication_rel r
    where r.prpubid = publication.oid and r.prrelid = 'public.mux_asset_tracking'::regclass
  ) then
    return;  -- it is there already
  end if;
  if not pg_has_role(current_user, publication.pubowner, 'usage') then
    raise exception '% does not own publication supabase_realtime', current_user
      using hint = format('Apply the file as its owner, %s.', publication.pubowner::regrole);
  end if;
  alter publication supabase_realtime add table public.mux_asset_tracking;
end
$$;

commit;
