"""Experiments: flags -> library -> records -> tables, figures and reports."""
