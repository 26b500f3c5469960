"""Measurements behind the report: one module per notebook, plus a few shared ones."""
