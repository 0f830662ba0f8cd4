"""Tests under kills, damaged files, full disks, two writers and hostile files."""
