"""Fuzzing: damaged pictures, malformed bodies, headers and requests."""
