"""Knowledge points of a text: by a language model, key phrases, or a glossary."""
