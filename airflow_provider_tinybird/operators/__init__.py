"""Operators that load, reshape, delete and read data in Tinybird."""
