"""Training: prepared data to a run directory."""
