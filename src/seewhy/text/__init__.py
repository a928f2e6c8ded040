"""Texts: from words to what methods explain, and back."""
