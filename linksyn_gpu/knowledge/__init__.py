"""Knowledge points: taken from seeds that have none, labelled, and each one thing under one name.

`clean` keeps formulas, markup and code out of names; `terms`, `keyphrases` and `extract` find the knowledge points
of a text; `taxonomy` maps disciplines and difficulties; `merge` decides which names are one.
"""
