"""Pruning runs (Algorithm 1): loop, callback, options and checks."""
