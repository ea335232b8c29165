"""Functions whose minimum is known, in place of an objective, and runs on them."""

import numpy as np

from jitlogreg.solvers import line_search, newton_cg, steepest_descent
from jitlogreg.solvers.point import Task, initial_point
from jitlogreg.solvers.requests import completed


def next_point(task, method, point):
    return completed(line_search.next_point(task, method, point))


def direction(method, point):
    return completed(method.direction(point))


def newton_cg_direction(task, point, precondition):
    return completed(newton_cg.newton_cg_direction(task, point, precondition))


def cauchy_step_size(objective, point):
    return completed(steepest_descent.cauchy_step_size(objective, point))


class Quadratic:
    """½ (θ − c)ᵀA(θ − c), and what `beyond` gives wherever a number of θ is above `limit`."""

    has_hessian, has_shared_hessian, frame = False, False, None

    def __init__(self, A, c, limit=np.inf, beyond=np.nan):
        self.A, self.c, self.limit, self.beyond = A, np.asarray(c, dtype=float), limit, beyond
        self.n_parameters, self.shape = len(c), (100, len(c))
        self.seen = []

    def __call__(self, theta):
        self.seen.append(theta)
        if np.any(theta > self.limit):
            return self.beyond, np.full_like(theta, np.nan)
        off = theta - self.c
        return 0.5 * off @ self.A @ off, self.A @ off

    def hessian_vector(self, theta, v):
        return self.A @ v


class WithHessian(Quadratic):
    """The same, with a Hessian, and with a sample whose Hessian may be another."""

    has_hessian = True

    def __init__(self, A, c, *, sampled=None, rows=10**6):
        super().__init__(A, c)
        self.sampled, self.shape = A if sampled is None else sampled, (rows, len(c))
        self.n_features, self.hessians = len(c), 0

    def hessian(self, theta):
        self.hessians += 1
        return self.A.copy()

    def sample(self, rows):
        return WithHessian(self.sampled, self.c)


def some_matrix(p, seed=0):
    half = np.random.default_rng(seed).normal(size=(p, p))
    return half @ half.T + np.eye(p)


def task_of(function, tolerance=1e-10):
    ones = np.ones(function.n_parameters)
    return Task(function, tolerance, tolerance, ones, ones)


def start(function, theta=None):
    theta = np.zeros(function.n_parameters) if theta is None else theta
    return initial_point(theta, *function(theta))


def run(function, make_method, count, tolerance=1e-10):
    """The points of a run of no more than so many iterations."""
    task = task_of(function, tolerance)
    method, points = make_method(task), [start(function)]
    while len(points) <= count and not points[-1].converged:
        found = next_point(task, method, points[-1])
        if found is None:
            break
        points.append(found)
    return points
