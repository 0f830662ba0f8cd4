"""Studies of units removed from trained models, without and with retraining."""
