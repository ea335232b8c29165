"""Kernels broken one token at a time, to see whether the tests notice."""
