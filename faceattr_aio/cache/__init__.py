"""Cache of results: look up, compute once for concurrent requests, store."""
