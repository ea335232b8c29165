"""Arrays of other libraries: their properties, views of their memory, and results in the caller's library."""
