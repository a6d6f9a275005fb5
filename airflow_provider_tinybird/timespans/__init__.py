"""Spans of time: intervals, windows, partitions, and the timestamps at their ends."""
