"""Real sentence vectors in tests: all-MiniLM-L6-v2 from PyPI, run with NumPy and served on this machine."""
