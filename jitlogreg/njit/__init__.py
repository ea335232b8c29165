"""The public calls inside the user's own `@njit` functions."""
