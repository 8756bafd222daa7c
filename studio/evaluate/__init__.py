"""Measurements of a trained method: codes -> prediction -> number."""
