"""A campaign against the package: kills, damage, full disks, two writers, bad files."""
