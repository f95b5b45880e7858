"""Sample data of the demo, as package data."""
