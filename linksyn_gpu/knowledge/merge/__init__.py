"""One knowledge point under one name."""
