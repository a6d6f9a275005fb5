"""Sensors that wait on Tinybird."""
