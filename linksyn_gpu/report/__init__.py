"""What a run did: its figures (`stats.py`) and a page that shows them (`page.py`)."""
