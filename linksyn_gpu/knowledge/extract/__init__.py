"""Find knowledge points in texts: by a language model, key phrases, or a glossary."""
