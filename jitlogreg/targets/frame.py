"""Columns of X seen from their own centre, in their own unit: where a solver computes if the caller's would not do.

Column j becomes x′ = (x − centreⱼ) · scaleⱼ, in registers, as it is read. Scales are powers of two, so that the product
rounds nothing.
"""

from typing import NamedTuple

import numpy as np

# Numbers of a vector of the CPU's kernels
LANES = 8


class Frame(NamedTuple):
    """A centre and a scale for each column.

    Attributes
    ----------
    centre, scale : ndarray of float64, shape (n,)
    packed : ndarray of float64
        Both as the kernels read them: eight scales follow on eight centres; 0 beyond the last column.
    """

    centre: np.ndarray
    scale: np.ndarray
    packed: np.ndarray

    @classmethod
    def of(cls, centre, scale):
        """The frame of these centres and scales."""
        n = len(centre)
        packed = np.zeros((-(-n // LANES), 2, LANES))
        for k, moment in enumerate((centre, scale)):
            padded = np.zeros(packed[:, k].size)
            padded[:n] = moment
            packed[:, k] = padded.reshape(-1, LANES)
        return cls(centre, scale, packed.reshape(-1))

    def columns(self, X):
        """The columns of a NumPy matrix as this frame has them, in float64: a copy."""
        return (X.astype(np.float64, copy=False) - self.centre) * self.scale

    def to_caller(self, theta):
        """θ = [w, b] or [w] in the caller's columns."""
        n = len(self.centre)
        w = theta[:n] * self.scale
        if len(theta) == n:
            return w
        return np.append(w, theta[n] - float(np.sum(self.centre * w)))

    def from_caller(self, theta):
        """θ in this frame's columns."""
        n = len(self.centre)
        w = theta[:n] / self.scale
        if len(theta) == n:
            return w
        return np.append(w, theta[n] + float(np.sum(self.centre * theta[:n])))

    def gradient_to_caller(self, gradient):
        """A gradient with respect to the caller's θ, from that with respect to this frame's."""
        n = len(self.centre)
        of_w, of_b = gradient[:n] / self.scale, gradient[n:]
        return np.append(of_w + self.centre * (of_b[0] if len(of_b) else 0.0), of_b)


def turned(problem, w, b):
    """The problem in the caller's columns, and w and b, or W and b, there."""
    return problem._replace(frame=None), *_to_caller(problem.frame, w, b)


def turned_sums(sums, problem, w, b, with_gradient):
    """The sums of a frame's columns by a function that takes columns as they are; of one output or of K.

    That costs the digits that a column's centre has more than its deviation.
    """
    frame = problem.frame
    found = sums(problem._replace(frame=None), *_to_caller(frame, w, b), with_gradient)
    return found._replace(dw=_into_frame(frame, found.dw, found.db)) if with_gradient else found


def turned_hessian_vector_sums(hessian_vector_sums, problem, w, b, v):
    """The products of a frame's Hessian with a vector, likewise."""
    frame = problem.frame
    of_w, of_b = hessian_vector_sums(problem._replace(frame=None), *_to_caller(frame, w, b), frame.to_caller(v))
    return _into_frame(frame, of_w, of_b), of_b


def turned_products_of_outputs(products, problem, model, along):
    """The same of K outputs, of (W, b) along (V, c)."""
    frame = problem.frame
    of_w, of_b = products(problem._replace(frame=None), *_to_caller(frame, *model), *_to_caller(frame, *along))
    return _into_frame(frame, of_w, of_b), of_b


def turned_hessian_sums(hessian_sums, problem, w, b):
    """The sums of a frame's Hessian, likewise: that of the caller's columns, turned on both sides."""
    frame = problem.frame
    of_caller = hessian_sums(problem._replace(frame=None), *_to_caller(frame, w, b))
    half = _into_frame(frame, of_caller[:-1], of_caller[-1])
    of_columns = _into_frame(frame, half[:, :-1].T, half[:, -1])
    turned = np.empty_like(of_caller)
    turned[:-1, :-1], turned[:-1, -1], turned[-1, :-1] = of_columns, half[:, -1], half[:, -1]
    turned[-1, -1] = of_caller[-1, -1]
    return turned


def _to_caller(frame, w, b):
    """w (n,) and b, or W (n, K) and b (K,), in the caller's columns."""
    of_w = frame.scale * np.ascontiguousarray(w.T)
    of_b = b - np.sum(frame.centre * of_w, axis=-1)
    return np.ascontiguousarray(of_w.T), float(of_b) if w.ndim == 1 else of_b


def _into_frame(frame, dw, db):
    """Sums with respect to the frame's columns, from those with respect to the caller's."""
    return (frame.scale * (dw.T - np.multiply.outer(db, frame.centre))).T
