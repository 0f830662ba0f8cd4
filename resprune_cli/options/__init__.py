"""What several commands read from their arguments."""
