"""Flags of the experiments, and how a run is started."""
