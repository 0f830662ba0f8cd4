"""Recipes, and what trains a model by them."""
