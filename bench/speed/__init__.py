"""Speed, and its cost in CPU time and memory."""
