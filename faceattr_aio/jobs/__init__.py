"""Jobs: pictures that are accepted now and processed later."""
