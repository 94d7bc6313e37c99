"""Asks models: concurrency, limits, retries, order, resume."""
