"""Request bodies: parsed, written to disk, checked by their headers."""
