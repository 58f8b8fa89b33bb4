"""Stress tests for this service and for any HTTP service that takes pictures; README.md says how its parts fit."""
