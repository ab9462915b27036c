"""The only package that talks to Supabase."""
