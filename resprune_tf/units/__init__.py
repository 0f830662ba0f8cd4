"""Residual units: find them, draw them, remove them, scale them, expand layers."""
