"""Limits that all peers are given. Imports nothing of the project, because every server imports it."""

import os

WAITING = int(os.environ.get("PEERS_WAITING", "20"))
"""Requests that may wait while one is processed."""
TIMEOUT_S = 30
"""The longest that a client waits for an answer."""
