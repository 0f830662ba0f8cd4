"""What a target limits, and which units meet it."""
