"""Carries writes out: log, sequencer, lanes, ends of tasks."""
