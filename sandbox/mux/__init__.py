"""A simulated Mux."""
