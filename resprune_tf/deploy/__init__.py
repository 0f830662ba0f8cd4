"""Models folded, written, checked and timed."""
