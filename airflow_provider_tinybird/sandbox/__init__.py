"""A local server that speaks Tinybird's API over a real ClickHouse engine, for development and tests."""
