"""The scenarios, in the order of the table."""

from e2e.scenarios import crashes, network, endings, users, crowd  # noqa: I001, F401 - the order of the table
