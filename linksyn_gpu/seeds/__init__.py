"""Seed files to a table of seeds: file formats, columns, values, rejects."""
