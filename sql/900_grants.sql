-- What it does: says who may do what. First it revokes everything on what the worker made, whatever is
--   granted on new objects by default; then it grants by name. (024 grants what the service role needs
--   of the app's table of lessons, since it knows the columns.)
-- Needs: all files before.
-- Locks: tables of mux_private, the schedule among them, access exclusive for a moment (policies).
-- Undo: down/900_grants.sql

begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;

revoke all on schema mux_private from public, anon, authenticated, service_role;
revoke all on all tables in schema mux_private from public, anon, authenticated, service_role;
revoke all on all sequences in schema mux_private from public, anon, authenticated, service_role;
revoke all on all routines in schema mux_private from public, anon, authenticated, service_role;
revoke all on public.mux_asset_tracking, public.mux_asset_events from public, anon, authenticated, service_role;
revoke all on sequence public.mux_asset_events_id_seq from public, anon, authenticated, service_role;
do $$
declare
  part regprocedure;
begin
  for part in select f.function from mux_private.public_functions() f where f.is_ours loop
    execute format('revoke all on function %s from public, anon, authenticated, service_role', part);
  end loop;
end
$$;

-- The app, for a signed-in user: rows by the policies of 040, columns by grant. Of the private
-- functions a user may execute those that a policy or one of the three public ones calls, but cannot
-- call them by name, without usage of the schema. If lessons have no owner, the app tracks on its
-- server, with the service role.
do $$
begin
  if mux_private.lesson_options() ->> 'owner' is not null then
    grant select, delete on public.mux_asset_tracking to authenticated;
    grant insert (lesson_id, upload_id, temp_asset_id, status, updated_at) on public.mux_asset_tracking to authenticated;
    grant update (lesson_id, upload_id, temp_asset_id, status, updated_at) on public.mux_asset_tracking to authenticated;
    grant select on public.mux_asset_events to authenticated;
    grant execute on function
      public.check_asset_status, public.track_upload, public.publish_lesson,
      mux_private.app_check_status, mux_private.app_lock_lesson, mux_private.app_publish, mux_private.app_track_upload,
      mux_private.is_owner, mux_private.lesson_key
      to authenticated;
  else
    grant execute on function
      public.track_upload, mux_private.app_check_status, mux_private.app_lock_lesson, mux_private.app_track_upload
      to service_role;
  end if;
end
$$;

-- The worker, and the app's own server, with the service role. That it bypasses row level security is
-- no grant.
grant select, insert, update, delete on public.mux_asset_tracking to service_role;
grant select on public.mux_asset_events to service_role;
grant usage on schema mux_private to service_role;
grant select on mux_private.applied_files, mux_private.snapshot to service_role;
grant select, update on mux_private.worker_state, mux_private.rate_limit, mux_private.adoption_walk to service_role;
grant select, insert, update, delete on mux_private.schedule to service_role;
do $$
declare
  part regclass;
begin
  foreach part in array array[
      'mux_private.worker_state', 'mux_private.rate_limit', 'mux_private.adoption_walk', 'mux_private.schedule']::regclass[]
  loop
    execute format('drop policy if exists "Service role has full access" on %s', part);
    execute format('create policy "Service role has full access" on %s for all to service_role using (true) with check (true)', part);
  end loop;
end
$$;
do $$
declare
  part regprocedure;
begin
  for part in
    select p.oid::regprocedure from pg_proc p
    where p.pronamespace = 'mux_private'::regnamespace and p.proname in (
      'actor', 'adopt', 'adoption_item_of', 'adoption_of', 'adoption_of_new', 'as_written', 'back_off',
      'backfill_rows', 'begin_to_track', 'busy', 'can_play', 'claim_of', 'contradicts', 'day', 'differences', 'due_count',
      'enter_upload', 'entry_of', 'events_arrive', 'events_of_the_day', 'fact_of', 'fail', 'failed_count',
      'first_instructors', 'follow_playback_id', 'holders', 'is_backing_off', 'is_current_of', 'is_mux_id',
      'is_of_another', 'is_owner', 'is_superseded', 'is_temporary', 'is_unplayable', 'key_of', 'learn',
      'lease', 'lesson', 'lesson_json', 'lesson_key', 'lesson_options', 'lesson_state', 'lesson_title',
      'lessons', 'lessons_after', 'lessons_are_indexed', 'lessons_are_searchable', 'lessons_denied',
      'lessons_hidden', 'lessons_holding', 'lessons_matching', 'lessons_problems', 'lessons_refuse',
      'lessons_table', 'list_entries', 'list_event', 'list_lessons', 'list_place', 'lock_lesson',
      'look_once_more', 'make_due', 'mark_deleted',
      'mark_unplayable', 'may_lead', 'mend_schedule', 'missing_files', 'named_by', 'named_id', 'named_in',
      'names_newer', 'newest_entry', 'newest_playable', 'note_backfill', 'note_columns', 'note_holders',
      'note_look', 'note_restored', 'note_video', 'note_withdrawn', 'number_of', 'objects', 'outcome', 'owner_of',
      'pass_over', 'pause_of', 'planned_adoption', 'plays', 'prune_events', 'public_functions',
      'publish', 'put_off', 'put_off_until', 'raised_by', 'rate_share', 'recheck', 'record_event',
      'record_refusal', 'referred_column',
      'refusal', 'restore', 'role_excess', 'rows_about', 'schedule_adopted', 'schedule_gaps', 'schedule_look',
      'set_operator', 'settle_deletion', 'settle_recheck', 'settle_row', 'settle_row_alone', 'tracks',
      'trigger_doubts', 'try_to_restore', 'unplayable_count', 'video_to_restore',
      'wait', 'waiting_lessons_after', 'wants_adoption', 'was_deleted', 'with_verdict', 'write_video')
    union all
    select f.function from mux_private.public_functions() f join pg_proc p on p.oid = f.function
    where f.is_ours and p.proname in (
      'worker_acquire_requests', 'worker_adopt', 'worker_backfill_begin', 'worker_backfill_candidates',
      'worker_backfill_end', 'worker_backfill_failures', 'worker_backfill_progress', 'worker_claim',
      'worker_doctor', 'worker_failures', 'worker_find_lessons', 'worker_lesson', 'worker_lesson_events',
      'worker_list_lessons', 'worker_make_due',
      'worker_note_events', 'worker_overview', 'worker_prune_events', 'worker_publish',
      'worker_record_refusal', 'worker_release', 'worker_retry', 'worker_schema_version', 'worker_settle',
      'worker_slow_down', 'worker_summary', 'worker_untracked')
  loop
    execute format('grant execute on function %s to service_role', part);
  end loop;
end
$$;

-- The role of the worker's own, where optional/worker_role.sql was applied: what the functions need that
-- the service role may call, without what is for the app's own server.
create or replace procedure mux_private.open_to_worker_role()
language plpgsql set search_path = public, extensions, pg_temp as $$
declare
  part text;
begin
  revoke all on schema mux_private from mux_worker;
  revoke all on all tables in schema mux_private from mux_worker;
  revoke all on all routines in schema mux_private from mux_worker;
  revoke all on public.mux_asset_tracking, public.mux_asset_events from mux_worker;

  grant usage on schema public, mux_private to mux_worker;
  grant select on public.mux_asset_tracking, public.mux_asset_events to mux_worker;
  grant insert (lesson_id, upload_id, temp_asset_id, mux_asset_id) on public.mux_asset_tracking to mux_worker;
  grant update (
    upload_id, temp_asset_id, mux_asset_id, mux_playback_id, status, error_message, updated_at, error_type,
    tracked_at, settled_at, duration_seconds, aspect_ratio, max_resolution
  ) on public.mux_asset_tracking to mux_worker;
  grant select on mux_private.applied_files, mux_private.snapshot to mux_worker;
  grant select, update on mux_private.worker_state, mux_private.rate_limit, mux_private.adoption_walk to mux_worker;
  grant select, insert, update, delete on mux_private.schedule to mux_worker;
  foreach part in array array[
    'public.mux_asset_events', 'mux_private.applied_files', 'mux_private.snapshot']
  loop
    execute format('drop policy if exists "mux_worker can read all rows" on %s', part);
    execute format('create policy "mux_worker can read all rows" on %s for select to mux_worker using (true)', part);
  end loop;
  foreach part in array array[
    'public.mux_asset_tracking', 'mux_private.worker_state', 'mux_private.rate_limit', 'mux_private.adoption_walk',
    'mux_private.schedule']
  loop
    execute format('drop policy if exists "mux_worker has full access" on %s', part);
    execute format('create policy "mux_worker has full access" on %s for all to mux_worker using (true) with check (true)', part);
  end loop;

  for part in select f.function::text from mux_private.public_functions() f where f.is_ours loop
    execute format('revoke all on function %s from mux_worker', part);
  end loop;
  for part in
    select p.oid::regprocedure::text
    from pg_catalog.pg_proc p cross join aclexplode(p.proacl) x
    where x.grantee = 'service_role'::regrole
      and (p.pronamespace = 'mux_private'::regnamespace and p.proname not like 'app\_%'
           or p.proname like 'worker\_%' and p.oid in (select f.function from mux_private.public_functions() f where f.is_ours))
  loop
    execute format('grant execute on function %s to mux_worker', part);
  end loop;
end
$$;
comment on procedure mux_private.open_to_worker_role() is
  'Grants mux_worker what the worker needs of what sql/ made. For this file and optional/worker_role.sql.';
revoke all on procedure mux_private.open_to_worker_role() from public, anon, authenticated, service_role;
do $$
begin
  if to_regrole('mux_worker') is not null and exists (select from mux_private.applied_files f where f.name = 'worker_role') then
    call mux_private.open_to_worker_role();
  end if;
end
$$;

insert into mux_private.applied_files (name) values ('900_grants') on conflict do nothing;

commit;
