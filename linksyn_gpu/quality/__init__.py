"""Whether a new QA is good enough to keep."""
