"""Everything in assets/ that is measured, recorded anew."""
