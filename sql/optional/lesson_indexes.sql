-- What it does: makes indexes of the app's table of lessons, by the ids that lessons hold. With the
--   first, the adoption that the worker does every five minutes reads only lessons with temporary ids,
--   however many lessons there are. With the others, also a large table is searched for the lessons
--   that hold an id: the commands find a lesson by it, the placeholder of another is not adopted, and
--   a user who tracks its upload does not get the video, unless a lesson of theirs holds it as well.
-- Needs: nothing. Not in a transaction: they are built while the app goes on writing.
-- Locks: share update exclusive: no query waits. The build waits for each transaction that began before
--   it, for 5 s. If one lasts longer, it fails: drop the invalid index, then apply the file again.
--   A partitioned table takes no index concurrently: there, remove the word, and writes wait.
-- Undo: drop index concurrently, one by one: public.idx_lessons_temporary_ids, public.idx_lessons_mux_asset_id, public.idx_lessons_mux_playback_id

set lock_timeout = '5s';

create index concurrently if not exists idx_lessons_temporary_ids on public.lessons (id)
  where left(mux_asset_id, 5) = 'temp_' or left(mux_playback_id, 5) = 'temp_';

create index concurrently if not exists idx_lessons_mux_asset_id on public.lessons (left(mux_asset_id, 300));

create index concurrently if not exists idx_lessons_mux_playback_id on public.lessons (left(mux_playback_id, 300));

analyze public.lessons;  -- an index of an expression has no statistics before
