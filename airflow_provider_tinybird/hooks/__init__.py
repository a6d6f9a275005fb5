"""Hooks: an Airflow connection becomes a Tinybird client."""
