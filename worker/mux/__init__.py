"""The only package that talks to Mux."""
