"""Async: carries plans out, decides nothing about the domain."""
