"""Folding, export to other formats, and latency."""
