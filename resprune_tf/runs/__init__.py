"""Records, checkpoints and callbacks of a run, and how models are judged."""
