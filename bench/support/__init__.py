"""Shared parts of the measurements: servers, load generators, pictures, pipelines."""
