"""Ranking rules: each splits a bucket of documents into smaller ones, best first."""
