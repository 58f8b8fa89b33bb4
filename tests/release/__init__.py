"""Tests of a release: the wheel and the sdist."""
