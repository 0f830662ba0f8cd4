"""What a run writes, and what it is stopped and judged by."""
