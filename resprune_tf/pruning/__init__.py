"""Algorithm 1: the loop, the callback, and their checks."""
