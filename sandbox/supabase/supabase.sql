-- The roles and the schema `auth` of a Supabase project, in the current database.
--
-- Needs a superuser. Roles belong to the whole server and are created once; everything else is
-- created in each database. To undo it, drop the database.

do $$
begin
    if to_regrole('postgres') is not null then
        return;
    end if;

    -- The role of the project: it owns the schema and is no superuser.
    create role postgres login nosuperuser createdb createrole replication bypassrls;

    -- The roles that requests run as.
    create role anon nologin noinherit;
    create role authenticated nologin noinherit;
    create role service_role nologin noinherit bypassrls;

    -- The role that PostgREST logs in with, to switch to one of the three.
    create role authenticator login noinherit;
    grant anon, authenticated, service_role to authenticator;
    grant anon, authenticated, service_role, authenticator to postgres with admin option;
    grant pg_monitor, pg_read_all_data, pg_signal_backend to postgres;
    grant set on parameter session_replication_role to postgres;

    -- Requests as service_role have the timeouts of authenticator.
    alter role authenticator set statement_timeout = '8s';
    alter role authenticator set lock_timeout = '8s';
    alter role anon set statement_timeout = '3s';
    alter role authenticated set statement_timeout = '8s';
end
$$;

do $$
begin
    execute format('alter database %I owner to postgres', current_database());
end
$$;

-- The owner of the database also owns `public`, through pg_database_owner.
grant usage on schema public to anon, authenticated, service_role;

create schema auth;
grant usage on schema auth to postgres, anon, authenticated, service_role;

create function auth.jwt() returns jsonb
language sql stable
return nullif(pg_catalog.current_setting('request.jwt.claims', true), '')::jsonb;

create function auth.uid() returns uuid
language sql stable
return (auth.jwt() ->> 'sub')::uuid;

create function auth.role() returns text
language sql stable
return auth.jwt() ->> 'role';

comment on schema auth is 'The user of the request, from its JWT.';
comment on function auth.jwt() is 'The claims of the request''s JWT, or null outside of a request.';
comment on function auth.uid() is 'The signed-in user, or null.';
comment on function auth.role() is 'The role that the JWT names, or null.';
