"""How a matrix lies in memory."""


def layout(X):
    """The order of X and its leading dimension; None where it has no unit stride, or its rows or columns overlap.

    Returns
    -------
    order : {"C", "F"}
        "C" where the features of an example are adjacent in memory, "F" where a feature's values are.
    leading : int
        Elements from one row (C) or one column (F) to the next.
    """
    m, n = X.shape
    down, across = X.strides
    step = X.itemsize
    if (n <= 1 or across == step) and (m <= 1 or down >= n * step):
        return "C", down // step if m > 1 else n
    if (m <= 1 or down == step) and (n <= 1 or across >= m * step):
        return "F", across // step if n > 1 else m
    return None
