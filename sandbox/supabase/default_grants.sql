-- Supabase's default grants until 2026-10-30: the three roles of the requests may use everything
-- that the role `postgres` creates in `public`.
--
-- Needs a superuser, and supabase.sql. To undo it, revoke the same privileges.

alter default privileges for role postgres in schema public
    grant all on tables to anon, authenticated, service_role;
alter default privileges for role postgres in schema public
    grant all on functions to anon, authenticated, service_role;
alter default privileges for role postgres in schema public
    grant all on sequences to anon, authenticated, service_role;
