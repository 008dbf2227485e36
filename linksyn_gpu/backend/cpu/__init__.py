"""The CPU backend: Numba on all cores."""
