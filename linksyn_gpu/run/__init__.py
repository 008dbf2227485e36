"""A run folder: its files, its manifest, and the stages that fill it."""
