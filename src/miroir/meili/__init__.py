"""The words of Meilisearch's HTTP API: pure, shared by the orchestrator and the embedded engine."""
