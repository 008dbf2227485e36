"""The reference backend: readable NumPy, the oracle of the others."""
