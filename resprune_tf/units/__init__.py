"""Residual units: found, drawn, removed, scaled and opened."""
