"""What a solver needs of an objective: `jitlogreg.Objective` and `jitlogreg.dask.Objective` implement it."""

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import numpy as np

from jitlogreg.targets.frame import Frame


@runtime_checkable
class SolverObjective(Protocol):
    """J(θ) and its derivatives, bound to m examples with p parameters θ = [w, b] or [w].

    A gradient and products of the Hessian with vectors are always there. `hessian` and `root` are called only where
    `has_hessian` is True, and `sample` where that or `has_shared_hessian` is.

    Attributes
    ----------
    shape : tuple of int
        (m, n).
    n_features, n_outputs, n_parameters : int
        n; K, of which each column has a parameter; and p.
    has_intercept : bool
        Whether θ ends with b.
    target : str
        The name of the target that computes.
    l2 : float
        The penalty in the caller's columns.
    penalty : float or ndarray of float64, shape (n,)
        The penalty in the columns of `frame`.
    frame : Frame or None
        The columns that θ refers to; the caller's own if None.
    has_hessian : bool
        Whether the Hessian can be formed.
    has_shared_hessian : bool
        Whether a block of the Hessian that all outputs share can be formed.
    has_mean_curvature : bool
        Whether `mean_curvature` can be called.
    n_numbers : float
        How many numbers X has.
    total_weight : float
        S = Σ sᵢ.
    imbalance : float
        ∂J/∂b at θ = 0, without an offset; 0 without an intercept. It is ±½ if there is but one class.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    n_features: int
    n_outputs: int
    n_parameters: int
    has_intercept: bool
    target: str
    l2: float
    penalty: float | np.ndarray
    frame: Frame | None
    has_hessian: bool
    has_shared_hessian: bool
    has_mean_curvature: bool
    n_numbers: float
    total_weight: float
    imbalance: float

    def __call__(self, theta):
        """The loss and the gradient at θ."""

    def at_zero(self):
        """The loss and the gradient at θ = 0."""

    def hessian_vector(self, theta, v):
        """The Hessian at θ times v."""

    def hessian(self, theta):
        """The Hessian at θ."""

    def shared_hessian(self, theta):
        """The mean of the outputs' diagonal blocks of the Hessian, where `has_shared_hessian` is True."""

    def mean_curvature(self):
        """The diagonal of the Hessian at 0, without weights and offsets, where `has_mean_curvature` is True."""

    def root(self, theta):
        """The triangular R with RᵀR = S H, of the Hessian H at θ, by a QR factorisation of the weighted rows."""

    def sample(self, rows: int) -> "SolverObjective | None":
        """The objective of about so many examples; None where none of them has weight."""

    def some_rows(self, count: int) -> tuple[np.ndarray, np.ndarray | None]:
        """About so many rows of X, and their weights or None."""

    def fingerprint(self) -> int:
        """A number that hardly any other data has."""

    def row_blocks(self) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]]:
        """X, y, the weights, and the offsets or None, of all examples, one row block after another."""

    def in_frame(self, columns: Frame) -> "SolverObjective":
        """The same objective as a function of θ in a frame's columns."""

    def parameters(self, theta):
        """w and b in the caller's columns."""

    def from_caller(self, theta):
        """θ in the columns of the frame."""

    def gradient_to_caller(self, gradient):
        """A gradient in the caller's columns."""

    def per_parameter(self, of_columns):
        """What is known of each column, for each parameter; 1 for an intercept."""

    def smallest_doubt(self, theta, enough: float) -> float:
        """The smallest sᵢ times the probability of the wrong label, over examples with weight and a label of 0 or 1.

        Any number above `enough` where that is larger than `enough`.
        """
