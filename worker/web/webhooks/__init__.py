"""Mux's webhooks: verify, read, batch, settle."""
