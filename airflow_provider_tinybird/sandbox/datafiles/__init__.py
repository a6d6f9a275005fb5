"""The datafiles of a project, and the SQL in them."""
