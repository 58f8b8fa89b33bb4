"""Stress tests for this service and for any HTTP service that takes pictures; README.md describes the modules."""
