"""Seed files to a table of seeds.

`readers` opens files and yields records, `layouts` finds the fields of a seed in a record, `values` brings one value
into the form of a field, and `normalize` makes a seed of a record or rejects it with a reason.
"""
