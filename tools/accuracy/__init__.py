"""How far results are off: what `measure.py` puts on the page docs/accuracy.md, and the polynomials."""
