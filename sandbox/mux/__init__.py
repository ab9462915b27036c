"""A simulated Mux: its API, its upload URLs and its webhooks."""
