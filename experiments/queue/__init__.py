"""The plan of all runs, and its runner."""
