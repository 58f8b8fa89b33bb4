"""The bounds that all peers are given, where their library has them. Knows nothing else: every server imports it."""

import os

WAITING = int(os.environ.get("PEERS_WAITING", "20"))
"""Requests that may wait while one is worked on."""
TIMEOUT_S = 30
"""The longest that a client is kept waiting."""
