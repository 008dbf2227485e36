"""The published data set: its rows in several forms, train and validation, its card and metadata."""
