"""Tinybird's HTTP API as typed calls. Nothing here imports Airflow: it works from a REPL."""
