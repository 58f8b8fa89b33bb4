"""Pipelines: faces, holistic, anime. They run in workers and are imported by dotted name."""
