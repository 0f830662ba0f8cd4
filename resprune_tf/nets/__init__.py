"""The importance layer and the residual networks of the paper."""
