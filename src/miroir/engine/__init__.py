"""The embedded node: a small Meilisearch-compatible engine for development and tests."""
