"""Tests of faults: refusals under load, hostile clients, lost workers and models."""
