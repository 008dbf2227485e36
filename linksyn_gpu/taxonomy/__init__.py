"""Disciplines and difficulty levels, and the tables that map the labels of seed banks to them."""
