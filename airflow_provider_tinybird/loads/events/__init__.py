"""Rows on their way in as events."""
