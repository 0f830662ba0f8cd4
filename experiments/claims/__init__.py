"""Whether what the paper claims held here."""
