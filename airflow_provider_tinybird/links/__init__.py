"""Links on the page of a task to what it worked on, in Tinybird's UI."""
