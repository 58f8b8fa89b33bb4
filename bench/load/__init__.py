"""Behaviour under load."""
