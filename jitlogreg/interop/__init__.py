"""Arrays of other libraries: what they are asked, how they are seen here, and how results go back to them."""
