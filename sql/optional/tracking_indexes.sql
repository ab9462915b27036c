-- What it does: makes the indexes that 031 asks for, of a large mux_asset_tracking that the app made
--   before the worker.
-- Needs: 030. Not in a transaction: they are built while the app goes on writing.
-- Locks: none that anybody waits for.
-- Undo: drop index concurrently, one by one: idx_mux_asset_tracking_mux_asset_id, idx_mux_asset_tracking_failed

set lock_timeout = '5s';

create index concurrently if not exists idx_mux_asset_tracking_upload_id on public.mux_asset_tracking (upload_id);

create index concurrently if not exists idx_mux_asset_tracking_temp_asset_id on public.mux_asset_tracking (temp_asset_id);

create index concurrently if not exists idx_mux_asset_tracking_mux_asset_id on public.mux_asset_tracking (mux_asset_id)
  where mux_asset_id is not null;

create index concurrently if not exists idx_mux_asset_tracking_failed on public.mux_asset_tracking (settled_at)
  where status = 'error';
