"""Decisions about moving data: operations, copies, the node list."""
