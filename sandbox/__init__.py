"""A local Supabase, a simulated Mux and a sample app, for the demo and the tests."""
