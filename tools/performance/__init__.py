"""How fast it is: tables and pictures for the docs, and whether a commit is slower than another."""
