"""A Supabase and a Mux for one machine, for the demo and the tests."""
