-- What it does: makes worker_note_events, by which all workers know that webhooks arrive.
-- Needs: 036.
-- Locks: none.
-- Undo: down/078_webhooks.sql

begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;

-- An event of an environment that holds none of our ids is no evidence about our uploads.
create or replace function public.worker_note_events(
  environment_id text default null, has_matched boolean default false
) returns text
language plpgsql set search_path = public, extensions, pg_temp as $$
#variable_conflict use_column
declare
  recorded text := (select s.environment_id from mux_private.worker_state s);
begin
  if has_matched or worker_note_events.environment_id = recorded then
    update mux_private.worker_state s set events_at = now()
    where s.only_row and (s.events_at is null or s.events_at < now() - interval '1 s');
  end if;
  return recorded;
end
$$;
comment on function public.worker_note_events is
  'For the worker: a webhook of this Mux environment has just reported an upload or asset, perhaps about a row of ours. If it is the environment in which our ids were last found, or a row matched, the scan leaves new uploads to the webhooks for ten minutes. Returns the recorded environment.';

insert into mux_private.applied_files (name) values ('078_webhooks') on conflict do nothing;

commit;
