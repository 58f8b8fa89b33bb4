"""Results: looked up, computed once for concurrent requests, stored."""
