"""Starts a real server, with the pipeline `trick` in its settings."""

from bench.support.served import PATIENCE_S, ROOT, Server, descendants, environment, start_server

__all__ = ["PATIENCE_S", "ROOT", "TRICK", "Server", "descendants", "environment", "start_server"]

TRICK = """
[pipelines.trick]
factory = "tests.support.pipelines:Trick"
path = "/trick"
"""
