"""A Supabase, a Mux and an app for one machine, for the demo and the tests."""
