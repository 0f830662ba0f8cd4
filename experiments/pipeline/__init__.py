"""Speed of the ImageNet input pipeline."""
