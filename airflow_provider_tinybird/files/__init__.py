"""Files on this machine or in an object store: open, recognize, sign."""
