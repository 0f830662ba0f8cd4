"""Files, disk and memory of the machine."""
