"""Options of the commands, and the checks of their values."""
