"""Benchmark of training and inference."""
