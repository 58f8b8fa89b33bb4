"""Tests of anime."""
