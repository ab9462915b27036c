-- What it does: makes the indexes that 031 asks for, of a large mux_asset_tracking that the app made
--   before. Then apply 031 and the files after it.
-- Needs: 030. Not in a transaction: they are built while the app goes on writing.
-- Locks: share update exclusive: no query waits. The build waits for each transaction that began before
--   it, for 5 s. If one lasts longer, it fails: drop the invalid index, then apply the file again.
-- Undo: drop index concurrently, one by one: public.idx_mux_asset_tracking_mux_asset_id, public.idx_mux_asset_tracking_failed,
--   public.idx_mux_asset_tracking_unplayable (and the other two, unless the app had made them)

set lock_timeout = '5s';

create index concurrently if not exists idx_mux_asset_tracking_upload_id on public.mux_asset_tracking (upload_id);

create index concurrently if not exists idx_mux_asset_tracking_temp_asset_id on public.mux_asset_tracking (temp_asset_id);

create index concurrently if not exists idx_mux_asset_tracking_mux_asset_id on public.mux_asset_tracking (mux_asset_id)
  where mux_asset_id is not null;

create index concurrently if not exists idx_mux_asset_tracking_failed
  on public.mux_asset_tracking (coalesce(settled_at, 'epoch'), id)
  where status = 'error';

create index concurrently if not exists idx_mux_asset_tracking_unplayable on public.mux_asset_tracking (updated_at, id)
  where status = 'ready' and error_type is not null;
