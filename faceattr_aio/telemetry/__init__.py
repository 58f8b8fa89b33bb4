"""Logs, metrics, statistics and traces of requests."""
