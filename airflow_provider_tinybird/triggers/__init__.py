"""Triggers: what waits on Tinybird in the triggerer."""
