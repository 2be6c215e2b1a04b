"""Everything in assets/ that is measured, recorded anew: `python -m vgkeras.record`."""
