"""Carries reads out: searches, documents, facets, figures."""
