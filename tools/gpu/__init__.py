"""The CUDA target on the GPU that is here: checks, timings, and the page docs/gpu.md."""
