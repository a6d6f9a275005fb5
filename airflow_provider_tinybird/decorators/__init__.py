"""TaskFlow forms of operators."""
