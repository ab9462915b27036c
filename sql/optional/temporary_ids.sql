-- What it does: an index of the lessons that hold temporary ids. With it, the adoption that the
--   worker does every five minutes reads only those, however many lessons there are.
-- Needs: nothing. Not in a transaction: it is built while the app goes on writing.
-- Locks: none that anybody waits for.
--   A partitioned table takes no index concurrently: there, leave the word out, and writes wait.
-- Undo: drop index concurrently public.idx_lessons_temporary_ids;

set lock_timeout = '5s';

create index concurrently if not exists idx_lessons_temporary_ids on public.lessons (id)
  where left(mux_asset_id, 5) = 'temp_' or left(mux_playback_id, 5) = 'temp_';
