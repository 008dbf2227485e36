"""Rule checks of new QA, and their examination by a model."""
