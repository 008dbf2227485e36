"""Seed files to a table of seeds.

`readers` opens files and yields records, `layouts` finds the fields of a seed in a record, `values` converts one
value into the form of a field, and `normalize` turns a record into a seed or rejects it with a reason.
"""
