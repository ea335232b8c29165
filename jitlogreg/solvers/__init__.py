"""Solvers: from an objective to its minimum, and to what can be said of it.

fit.py               `fit`, and its result
arguments.py         what the arguments of a fit mean, and which solver "auto" takes
run.py               a run from its start to its end, and the verdict on its last point
newton.py, lbfgs.py, steepest_descent.py    the methods: search directions
line_search.py       how far along a direction, and when that was the last step
curvature.py         the factored Hessian: steps and decrements
standardize.py       the centre and the spread of the columns
separation.py        whether there is a minimum at all
point.py, direction.py, solver_objective.py    what these hand to each other
requests.py          what a run asks of X, so that somebody else may answer
lockstep.py          many runs at once: one read of X answers all that wait
fit_models.py        `fit` of K independent models
path.py, fit_path.py    from penalty to penalty
cross_validation.py, folds.py, scoring.py    `cross_validate`
bootstrap.py, resamples.py, intervals.py    `bootstrap`
gradient_descent.py  `gradient_descent`: the update rule of the lecture notes
minibatch.py, batches.py    `minibatch_descent`: a step for each batch, and where batches come from
monitor.py, progress.py, checkpoint.py    callbacks, progress bars, files to resume from
"""
