"""Checks and times the CUDA target on the GPU that is here, and writes what it found: python -m jitlogreg.gpu_check."""
