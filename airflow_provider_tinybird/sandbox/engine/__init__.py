"""The engine (chdb): tables, formats and types."""
