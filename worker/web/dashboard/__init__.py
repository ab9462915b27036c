"""The operators' dashboard, where OPS_TOKEN is set."""
