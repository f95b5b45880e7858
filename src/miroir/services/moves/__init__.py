"""Carries moves out: operations, copies, retirement, scrub."""
