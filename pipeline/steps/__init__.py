"""The stages of the Beam job: composite transforms without reads or writes."""
