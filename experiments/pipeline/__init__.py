"""How fast ImageNet is read."""
