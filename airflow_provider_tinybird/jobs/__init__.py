"""The life of a job: submit it once or reattach, watch it, read how it ended."""
