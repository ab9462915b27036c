"""A local Supabase: Postgres, PostgREST and a gateway with Supabase's API keys."""
