"""Whether it can be broken: hard situations, hard data, golden bits, and scikit-learn's own tests."""
