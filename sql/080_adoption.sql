-- What it does: makes the functions that decide what to adopt for a lesson: which upload or asset it
--   names, whether that is its newest, whose it is, and what it can play meanwhile.
-- Needs: 050, 071.
-- Locks: none.
-- Undo: down/080_adoption.sql

begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;

-- For adopted, upload_id and asset_id are what to track; for ask, what Mux has to be asked for.
do $$
begin
  if to_regtype('mux_private.adoption') is null then
    create type mux_private.adoption as (outcome text, reason text, upload_id text, asset_id text, passes_over text);
  end if;
end
$$;
comment on type mux_private.adoption is
  'What adopting a lesson does: adopted, look (at its row, once more), tracked (already), ask, or a reason to leave its upload as it is. passes_over is an id that counts for nothing for an hour.';

-- What an operator or a backfill brings for a lesson.
do $$
begin
  if to_regtype('mux_private.adoption_item') is null then
    create type mux_private.adoption_item as (
      id text, upload_id text, asset_id text, is_missing boolean, is_trusted boolean, by_hand boolean, takes_drafts boolean,
      retries_failed boolean, backfill timestamptz);
  end if;
end
$$;
comment on type mux_private.adoption_item is 'What is asked for a lesson, and what Mux said about the id that it named.';

create or replace function mux_private.adoption_item_of(p_item jsonb, p_backfill timestamptz) returns mux_private.adoption_item
language plpgsql immutable set search_path = public, extensions, pg_temp as $$
begin
  return row(
    p_item ->> 'id', case when mux_private.is_mux_id(p_item ->> 'upload_id') then p_item ->> 'upload_id' end,
    case when mux_private.is_mux_id(p_item ->> 'asset_id') then p_item ->> 'asset_id' end,
    coalesce((p_item ->> 'is_missing')::boolean, false), coalesce((p_item ->> 'is_trusted')::boolean, false),
    coalesce((p_item ->> 'by_hand')::boolean, false),
    coalesce((p_item ->> 'by_hand')::boolean, false) or coalesce((p_item ->> 'takes_drafts')::boolean, false),
    coalesce((p_item ->> 'retries_failed')::boolean, false), p_backfill
  )::mux_private.adoption_item;
end
$$;
comment on function mux_private.adoption_item_of is 'An item of worker_adopt. Raises if it has another form.';

-- Other users can read and copy a placeholder, so it does not decide between instructors. Only ids that
-- the upload history gives to no one are compared.
create or replace function mux_private.holders(p_ids text[]) returns jsonb
language plpgsql stable security definer set search_path = public, extensions, pg_temp as $$
declare
  ids text[] := array(
    select i from unnest(p_ids) i where i is not null except select f.mux_id from mux_private.first_instructors(p_ids) f);
  texts text[] := array(
    select distinct prefix || id
    from unnest(ids) i cross join lateral (values (i), (mux_private.as_written(i))) v (id)
    cross join (values (''), ('temp_'), ('temp_playback_')) t (prefix));
  owners jsonb;
begin
  if cardinality(ids) > 0 and mux_private.lessons_are_searchable() then
    select jsonb_object_agg(h.mux_id, h.owners) into owners from (
      select i as mux_id, jsonb_agg(distinct l.owner) as owners
      from mux_private.lessons_holding(texts, null) l
      cross join lateral (values (l.asset_id), (case when left(l.playback_id, 5) = 'temp_' then l.playback_id end)) n (id)
      join unnest(ids) i on mux_private.as_written(i) = mux_private.as_written(mux_private.named_id(n.id))
      group by i) h;
  elsif cardinality(ids) > 0 then
    select jsonb_object_agg(i, '["several", "instructors"]'::jsonb) into owners
    from unnest(ids) i join mux_private.upload_history h on h.mux_id_written = mux_private.as_written(i) and h.how = 'disputed';
  end if;
  return coalesce(owners, '{}');
end
$$;
comment on function mux_private.holders is
  'For each of these ids that no instructor has tracked, the instructors whose lessons hold it. In a large table without the indexes of sql/optional: only that lessons of several did when sql/ was applied.';

-- A form that was left open may save a placeholder, or an older video, over a lesson's ids. An app that
-- clears them means it.
create or replace function mux_private.video_to_restore(
  p_lesson mux_private.lesson, p_tracking public.mux_asset_tracking
) returns mux_private.upload_history
language plpgsql stable set search_path = public, extensions, pg_temp as $$
declare
  is_ready boolean := coalesce(
    p_tracking.status = 'ready' and p_tracking.error_type is null and mux_private.is_mux_id(p_tracking.mux_playback_id)
    and not mux_private.was_deleted(p_tracking.mux_asset_id), false);
  video mux_private.upload_history := case
    when is_ready then mux_private.entry_of(p_lesson.id, mux_private.key_of(p_tracking.upload_id, p_tracking.mux_asset_id))
    else mux_private.newest_playable(p_lesson.id) end;
  plays boolean := mux_private.can_play(p_lesson.asset_id, p_lesson.playback_id);
begin
  if is_ready then
    video.asset_id := p_tracking.mux_asset_id;
    video.playback_id := p_tracking.mux_playback_id;
    video.was_published := true;
  end if;
  if video.playback_id is null or concat(p_lesson.asset_id, p_lesson.playback_id) = ''
     or (p_lesson.asset_id, p_lesson.playback_id) is not distinct from (video.asset_id, video.playback_id)
     or (plays and not is_ready) then
    return null;
  end if;
  return video;
end
$$;
comment on function mux_private.video_to_restore is
  'The newest playable video of a lesson where the lesson plays nothing, or not what its ready row has; else null.';

-- A row that holds a placeholder tracks nothing yet. The app may call a placeholder as it likes: the row
-- says which upload that is.
create or replace function mux_private.is_current_of(
  p_lesson mux_private.lesson, p_tracking public.mux_asset_tracking, p_named text, p_upload_id text
) returns boolean
language plpgsql stable set search_path = public, extensions, pg_temp as $$
declare
  newest_id bigint := (mux_private.newest_entry(p_lesson.id)).id;
begin
  return coalesce(mux_private.is_mux_id(mux_private.key_of(p_tracking.upload_id, p_tracking.mux_asset_id)), false) and coalesce(
    mux_private.as_written(p_named) in (mux_private.as_written(p_tracking.upload_id), mux_private.as_written(p_tracking.mux_asset_id))
    or (p_lesson.asset_id = p_tracking.temp_asset_id
        and p_named = mux_private.named_by(p_lesson.asset_id, p_lesson.playback_id))
    or newest_id in ((mux_private.entry_of(p_lesson.id, p_named)).id, (mux_private.entry_of(p_lesson.id, p_upload_id)).id), false);
end
$$;
comment on function mux_private.is_current_of is 'Whether an id is that of the upload that a lesson''s row tracks.';

-- What the lesson's columns name, else its row where that holds a placeholder.
create or replace function mux_private.named_in(p_lesson mux_private.lesson, p_tracking public.mux_asset_tracking) returns text
language plpgsql immutable set search_path = public, extensions, pg_temp as $$
begin
  return coalesce(
    mux_private.named_by(p_lesson.asset_id, p_lesson.playback_id),
    case when mux_private.is_mux_id(p_tracking.upload_id) is not true and p_tracking.upload_id <> 'migrated'
      then coalesce(mux_private.named_id(p_tracking.upload_id), mux_private.named_id(p_tracking.temp_asset_id)) end);
end
$$;
comment on function mux_private.named_in is 'The upload or asset that a lesson names; null where it names none.';

-- An id that the lesson's history does not know is its newest. Where the lesson has a history, Mux is
-- asked first: the asset of an older upload is older too.
create or replace function mux_private.adoption_of_new(
  p_item mux_private.adoption_item, p_lesson mux_private.lesson, p_tracking public.mux_asset_tracking, p_named text, p_holders jsonb
) returns mux_private.adoption
language plpgsql stable set search_path = public, extensions, pg_temp as $$
declare
  newest mux_private.upload_history := mux_private.newest_entry(p_lesson.id);
  is_real boolean := coalesce(p_named = p_lesson.asset_id, false);
  is_identified boolean := p_item.upload_id is not null or p_item.asset_id is not null;
  passes_over text := case when newest.id is not null then p_named end;  -- so that what the lesson has goes on
begin
  if p_tracking.id is null and p_lesson.is_draft and is_real and mux_private.is_mux_id(p_lesson.playback_id)
     and not p_item.takes_drafts then
    return row('left_alone', 'has_video', null, p_named, null)::mux_private.adoption;
  elsif mux_private.is_of_another(p_tracking, p_lesson.owner, coalesce(p_item.upload_id, p_named), coalesce(p_item.asset_id, p_named)) then
    return row('disputed', 'lesson_mismatch', null, null, passes_over)::mux_private.adoption;
  elsif exists (
    select from unnest(case when p_item.is_trusted then array[p_item.upload_id, p_item.asset_id] else array[p_named] end) i
    where (p_holders -> i) <> jsonb_build_array(p_lesson.owner)
  ) then
    return row('disputed', 'several_instructors', null, null, passes_over)::mux_private.adoption;
  elsif newest.id is not null and not is_identified then
    return row(
      'ask', null, case when not is_real then p_named end, case when is_real then p_named end, null)::mux_private.adoption;
  elsif is_identified then
    return row('adopted', null, coalesce(p_item.upload_id, 'migrated'), p_item.asset_id, null)::mux_private.adoption;
  end if;
  return row(
    'adopted', null, case when is_real then 'migrated' else p_named end, case when is_real then p_named end, null)::mux_private.adoption;
end
$$;
comment on function mux_private.adoption_of_new is 'What adopting a lesson does that names an id which its history does not know.';

create or replace function mux_private.adoption_of(
  p_item mux_private.adoption_item, p_lesson mux_private.lesson, p_tracking public.mux_asset_tracking, p_holders jsonb
) returns mux_private.adoption
language plpgsql stable set search_path = public, extensions, pg_temp as $$
declare
  item mux_private.adoption_item := p_item;
  named text := mux_private.named_in(p_lesson, p_tracking);
  newest mux_private.upload_history := mux_private.newest_entry(p_lesson.id);
  entry mux_private.upload_history;
  passes_over text;
  is_real boolean;
  is_current boolean;
  is_known boolean;
  is_of_this_run boolean := coalesce(newest.adopted_in = p_item.backfill, false);  -- so it is not looked at once more
  has_video boolean := p_lesson.is_draft and mux_private.is_mux_id(p_lesson.asset_id) and mux_private.is_mux_id(p_lesson.playback_id);
begin
  if item.is_trusted then
    named := coalesce(item.upload_id, item.asset_id);
  elsif item.id is null or mux_private.as_written(item.id) is distinct from mux_private.as_written(named) then
    -- Mux was asked for what the lesson or its row named before.
    item.upload_id := null;
    item.asset_id := null;
    item.is_missing := false;
  end if;
  if named is null and p_tracking.id is null then
    return row(
      'left_alone', case when concat(p_lesson.asset_id, p_lesson.playback_id) = '' then 'names_nothing' else 'unreadable_id' end,
      null, null, null)::mux_private.adoption;
  end if;
  is_real := coalesce(named = p_lesson.asset_id, false);
  is_current := mux_private.is_current_of(p_lesson, p_tracking, named, item.upload_id);
  entry := mux_private.entry_of(p_lesson.id, named);
  if entry.id is null then
    entry := mux_private.entry_of(p_lesson.id, item.upload_id);
  end if;
  -- Where nothing was tracked, what stood there is older than nothing. An operator may ask for what is
  -- passed over.
  is_known := is_current or named is null or coalesce(
    entry.how = 'tracked' or (entry.how = 'stood there' and newest.id is not null)
    or (entry.how = 'passed over' and not item.by_hand), false);
  if not is_known and not item.is_missing then
    return mux_private.adoption_of_new(item, p_lesson, p_tracking, named, p_holders);
  elsif not is_known then
    passes_over := named;
  end if;
  -- The newest upload stays, or comes back.
  if item.by_hand and is_real and p_tracking.status = 'ready' and p_lesson.asset_id is distinct from p_tracking.mux_asset_id then
    return row('left_alone', 'older', null, null, passes_over)::mux_private.adoption;
  elsif p_tracking.id is null and newest.id is null then
    return row('left_alone', 'not_found', null, null, passes_over)::mux_private.adoption;
  elsif p_tracking.id is null and has_video and not item.takes_drafts then
    return row('left_alone', 'has_video', null, named, passes_over)::mux_private.adoption;
  elsif p_tracking.id is null then
    return row(
      'adopted', null, case when newest.mux_id = newest.asset_id then 'migrated' else newest.mux_id end, newest.asset_id,
      passes_over)::mux_private.adoption;
  elsif item.by_hand or (not is_of_this_run and (
          (has_video and item.takes_drafts and p_tracking.status <> 'processing')
          or (p_tracking.status = 'error' and item.retries_failed))) then
    if p_tracking.status = 'ready' and mux_private.is_of_another(p_tracking, p_lesson.owner, p_tracking.upload_id, p_tracking.mux_asset_id) then
      return row('disputed', 'lesson_mismatch', null, null, passes_over)::mux_private.adoption;  -- else what plays would fail
    end if;
    return row('look', null, p_tracking.upload_id, p_tracking.mux_asset_id, passes_over)::mux_private.adoption;
  end if;
  return row(
    case when p_tracking.status = 'processing' or is_of_this_run then 'tracked' else 'unchanged' end, case when has_video then 'has_video' end,
    p_tracking.upload_id, p_tracking.mux_asset_id, passes_over)::mux_private.adoption;
end
$$;
comment on function mux_private.adoption_of is
  'What adopting a lesson does, by what the lesson names, which upload of it is the newest, and whose that is. Writes nothing.';

insert into mux_private.applied_files (name) values ('080_adoption') on conflict do nothing;

commit;
