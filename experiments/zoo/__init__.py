"""Units of well-known networks."""
