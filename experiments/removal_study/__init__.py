"""What removal alone, without training, does to trained networks."""
