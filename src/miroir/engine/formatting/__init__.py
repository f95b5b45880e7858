"""Turning a document into a hit: which fields show, highlights, crops, match positions."""
