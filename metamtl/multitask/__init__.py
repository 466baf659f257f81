"""Weighting and relatedness of families."""
