"""Runs the GPU backend's code on machines without a GPU."""
