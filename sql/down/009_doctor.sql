-- Undoes ../009_doctor.sql.
begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;
drop function if exists public.worker_doctor();
delete from mux_private.applied_files where name = '009_doctor';
commit;
notify pgrst, 'reload schema';
