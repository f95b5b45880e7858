"""Decisions about reading: what to ask which node, and how the answers become one."""
