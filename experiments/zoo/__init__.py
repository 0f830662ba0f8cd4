"""Units of well-known models."""
