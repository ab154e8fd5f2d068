"""Searches for words that tune a detector, by trials that are ordinary runs of the store."""
