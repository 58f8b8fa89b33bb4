"""Logs, metrics, statistics and traces."""
