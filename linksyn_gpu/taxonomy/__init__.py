"""Disciplines and difficulty levels: labels of any bank under one set of names."""
