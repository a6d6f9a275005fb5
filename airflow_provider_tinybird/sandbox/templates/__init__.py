"""Tinybird's templates in SQL."""
