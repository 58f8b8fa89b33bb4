"""Tests of holistic."""
