"""Servers that this program starts, watches and stops, or only speaks to."""
