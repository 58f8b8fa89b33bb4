"""Admission control: the limiter, quotas, per-client limits, the wait queue."""
