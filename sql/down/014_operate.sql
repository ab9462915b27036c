-- Undoes ../014_operate.sql. Stop the workers first.
begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;
drop function if exists public.worker_status;
drop function if exists public.worker_retry;
drop function if exists public.worker_publish;
drop function if exists public.worker_lesson;
drop function if exists public.worker_find_lessons;
drop function if exists mux_private.name_operator;
delete from mux_private.applied_files where name = '014_operate';
commit;
notify pgrst, 'reload schema';
