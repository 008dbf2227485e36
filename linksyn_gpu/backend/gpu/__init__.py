"""The GPU backend. Only `cuda` and `memory` can be imported without CuPy."""
