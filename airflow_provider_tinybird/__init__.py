"""Apache Airflow provider for Tinybird, the real-time analytics platform on ClickHouse."""

__version__ = "0.1.0"
