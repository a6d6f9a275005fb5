"""Requests, answers, tokens, limits and faults."""
