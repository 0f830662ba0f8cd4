"""Records of runs, as tables, drawings and pages."""
