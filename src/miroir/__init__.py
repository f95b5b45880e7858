"""RAID for search: one endpoint that speaks the Meilisearch API over a fleet of small nodes."""

__version__ = "0.1.0"
