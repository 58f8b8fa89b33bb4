"""Measurements: one script for each question. Nothing here is part of the package."""
