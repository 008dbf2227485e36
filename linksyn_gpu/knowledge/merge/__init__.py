"""Merge the names of each knowledge point into one."""
