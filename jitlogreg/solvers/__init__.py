"""Fitting: from an objective to its minimum, and to what can be said of that.

fit.py           the public call: where a run starts, what it tells on the way, why it ends
point.py         where a run has come to
newton.py, lbfgs.py, gradient_descent.py    directions
line_search.py   how far to go along them
curvature.py     the Hessian, factored: steps and decrements
standardize.py   the centre and the spread of the columns
separation.py    whether there is a minimum at all
"""
