"""A local Supabase: Postgres, PostgREST and the gateway."""
