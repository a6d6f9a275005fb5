"""What sensors wait for, and the wait itself."""
