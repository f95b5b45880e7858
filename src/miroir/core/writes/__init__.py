"""Decisions about writing: acceptance, meaning, order, delivery and end of an op."""
