-- What Supabase granted by default until 2026-10-30: whatever the role `postgres` makes in
-- `public` can be used by the three roles of the requests.
--
-- Needs a superuser, and supabase.sql before it. Undone by revoking the same.

alter default privileges for role postgres in schema public
    grant all on tables to anon, authenticated, service_role;
alter default privileges for role postgres in schema public
    grant all on functions to anon, authenticated, service_role;
alter default privileges for role postgres in schema public
    grant all on sequences to anon, authenticated, service_role;
