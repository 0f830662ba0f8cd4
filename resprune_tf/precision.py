"""The precision of a training: which there are, and which this machine computes."""

PRECISIONS = ("float32", "bfloat16")
