"""A local server that speaks Tinybird's API over a real ClickHouse engine, for development and tests."""

UNSEEN_HEADER = "X-Sandbox-Unseen"
"""A request with this header meets no fault and is not recorded: that of a test which looks at what is there."""
