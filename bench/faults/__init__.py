"""Behaviour in case of failures and attacks."""
