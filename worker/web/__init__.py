"""What the worker answers over HTTP, where PORT is set: webhooks, health, metrics, a page."""
