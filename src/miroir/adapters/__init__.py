"""One file per outside thing: HTTP nodes, in-process nodes, SQLite."""
