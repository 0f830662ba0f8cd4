"""Data sets, their readers, and augmentation."""
