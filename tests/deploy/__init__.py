"""Tests of the files in conf/: the server behind proxies, under supervisors, and watched by Prometheus."""
