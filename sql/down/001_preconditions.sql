-- Undoes ../001_preconditions.sql. Run it last.
begin;
set local lock_timeout = '5s';
set local client_min_messages = warning;
drop table if exists mux_private.applied_files;
drop schema if exists mux_private;
commit;
