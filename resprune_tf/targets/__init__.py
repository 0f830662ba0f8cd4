"""Targets for the size of a model, and the units whose removal meets them."""
