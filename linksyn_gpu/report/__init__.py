"""What a run did: figures from its folder (`stats.py`) and a page for people (`page.py`)."""
