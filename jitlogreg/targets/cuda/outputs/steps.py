"""The step between margins and column sums, for the rows of a tile whose margins lie in the workspace, model by model.

    sigmoid        z ← s·dz, or s·σ(z)σ(−z)·u; a warp takes a model, and its lanes the rows
    softmax        z ← s·dz, or s·aₖ (uₖ − Σⱼ aⱼuⱼ); a thread takes a row, and its classes three times in turn
    activations    written to `out`, where the outputs of a row are adjacent

Margins hold the offsets already. The margins u of "curvature" follow those of all models. A step adds what it counts of
its examples, the totals but for Σ s·dz, to those of the block: in a slot for each model, or for each warp of a softmax.
"""

from numba import int64

from jitlogreg.pointwise import (
    ACTIVATIONS,
    below_largest,
    exp_nonpositive_sum,
    log1p_nonnegative,
    log_softmax,
    softmax_residual,
    softmax_scale,
    two_sum,
)
from jitlogreg.simd import fma, ones, zeros
from jitlogreg.targets.compile import inline
from jitlogreg.targets.cuda.compensated import TOTALS, add_example, merge_totals, warp_sum_totals, zero_totals
from jitlogreg.targets.cuda.epilogue import make_epilogue
from jitlogreg.targets.cuda.intrinsics import cuda, load, store


def make_step(w_type, link, operation, threads, slots):
    """A function `step(z, stride, rows, outputs, of_examples, steps, out, totals, thread)`.

    z is the address of the tile's first margin, and `stride` the numbers from one model's to the next. `rows` are the
    tile's first row in X and its number of rows; `of_examples` the addresses of y and s, and `steps` the bytes from one
    model's to the next; `totals` a shared array of so many slots.
    """
    if operation in ACTIVATIONS or operation in ROW_ACTIVATIONS:
        return _make_activation(w_type, operation, threads)
    if link == "sigmoid":
        return _make_models(w_type, operation, threads, slots)
    return _make_softmax_product(w_type) if operation == "curvature" else _make_softmax(w_type, slots)


# ---------------------------------------------------------------- independent models


def _make_models(w_type, operation, threads, slots):
    load_w, store_w, epilogue = load(w_type), store(w_type), make_epilogue(w_type, operation)
    warps, is_product = threads // 32, operation == "curvature"

    @inline
    def step(z, stride, rows, outputs, of_examples, steps, out, totals, thread):
        (first, n_rows), (y, s), (y_step, s_step) = rows, of_examples, steps
        zero = w_type(0)
        model = thread // int64(32)
        while model < outputs:
            own, row = zero_totals(zero), thread % int64(32)
            while row < n_rows:
                index = model * stride + row
                u = load_w(z, outputs * stride + index) if is_product else zero
                dz, loss, weight, invalid = epilogue(
                    load_w(z, index), u, first + row, y + model * y_step, s + model * s_step, int64(0), out
                )
                store_w(z, index, dz)
                own = add_example(own, loss, zero, weight, invalid)
                row += int64(32)
            if not is_product:
                own = warp_sum_totals(own)
                if thread % int64(32) == int64(0):
                    merge_totals(totals, model * int64(TOTALS), int64(slots * TOTALS), own)
            model += int64(warps)

    return step


# ---------------------------------------------------------------- softmax


def _make_row_passes(w_type):
    """Functions of the address of a row's first margin: its largest, and e to the power of what lies below that."""
    load_w, store_w = load(w_type), store(w_type)

    @inline
    def largest_margin(z, stride, row, outputs):
        """The largest margin and the number of its class, the first of equals."""
        largest, number, k = load_w(z, row), int64(0), int64(1)
        while k < outputs:
            zk = load_w(z, k * stride + row)
            if zk > largest:
                largest, number = zk, k
            k += int64(1)
        return largest, number

    @inline
    def exponentials(z, stride, row, outputs, largest, number, write):
        """The sum of eₖ = exp(zₖ − largest) over the classes but the largest's, in two parts; eₖ replaces zₖ."""
        high, low, k = zeros(largest), zeros(largest), int64(0)
        while k < outputs:
            difference, lost = below_largest(load_w(z, k * stride + row), largest)
            e = exp_nonpositive_sum(difference, lost)
            if write:
                store_w(z, k * stride + row, e)
            high, rounded = two_sum(high, zeros(e) if k == number else e)
            low += rounded
            k += int64(1)
        return high, low

    return largest_margin, exponentials


def _make_softmax(w_type, slots):
    load_w, store_w = load(w_type), store(w_type)
    largest_margin, exponentials = _make_row_passes(w_type)

    @inline
    def label(y, y_step, row, k):
        """yₖ of an example, from its class number or its probabilities."""
        if y_step != 0:
            return load_w(y + k * y_step, row)
        return w_type(1) if load_w(y, row) == w_type(k) else w_type(0)

    @inline
    def add_row(z, stride, row, outputs, example, y, y_step, si):
        """Replace a row's margins by s·dz; its loss."""
        largest, number = largest_margin(z, stride, row, outputs)
        misfit, k = zeros(si), int64(0)
        while k < outputs:
            yk = label(y, y_step, example, k)
            if yk > zeros(si):  # an infinite margin costs nothing where the label is 0
                difference, lost = below_largest(load_w(z, k * stride + row), largest)
                misfit = misfit - yk * (difference + lost)
            k += int64(1)
        high, low = exponentials(z, stride, row, outputs, largest, number, True)
        scale, k = softmax_scale(high, low), int64(0)
        while k < outputs:
            e = load_w(z, k * stride + row)
            others = high + low if k == number else ones(e) + ((high - e) + low)
            dz = si * softmax_residual(e, scale, others, label(y, y_step, example, k))
            store_w(z, k * stride + row, dz)
            k += int64(1)
        return log1p_nonnegative(high + low) + misfit

    @inline
    def step(z, stride, rows, outputs, of_examples, steps, out, totals, thread):
        (first, n_rows), (y, s), (y_step, _) = rows, of_examples, steps
        zero, one = w_type(0), w_type(1)
        own = zero_totals(zero)
        if thread < n_rows:
            si = load_w(s, first + thread) if s != 0 else one
            loss = add_row(z, stride, thread, outputs, first + thread, y, y_step, si)
            own = add_example(own, si * loss, zero, si, zero if si >= zero else one)
        own = warp_sum_totals(own)
        if thread % int64(32) == int64(0):
            merge_totals(totals, thread // int64(32) * int64(TOTALS), int64(slots * TOTALS), own)

    return step


def _make_softmax_product(w_type):
    load_w, store_w = load(w_type), store(w_type)
    largest_margin, exponentials = _make_row_passes(w_type)

    @inline
    def step(z, stride, rows, outputs, of_examples, steps, out, totals, thread):
        """Margins u are taken from that of the likeliest class: the others' shares are then all that is summed."""
        (first, n_rows), (_, s) = rows, of_examples
        if thread < n_rows:
            si = load_w(s, first + thread) if s != 0 else w_type(1)
            u = outputs * stride + thread
            largest, number = largest_margin(z, stride, thread, outputs)
            scale = softmax_scale(*exponentials(z, stride, thread, outputs, largest, number, True))
            u_largest, mean, k = load_w(z, u + number * stride), zeros(si), int64(0)
            while k < outputs:
                a = load_w(z, k * stride + thread) * scale
                store_w(z, k * stride + thread, a)
                mean = fma(a, load_w(z, u + k * stride) - u_largest, mean)
                k += int64(1)
            k = int64(0)
            while k < outputs:
                a, along = load_w(z, k * stride + thread), load_w(z, u + k * stride) - u_largest
                store_w(z, k * stride + thread, si * a * (along - mean))
                k += int64(1)

    return step


# ---------------------------------------------------------------- activations


def _make_softmax_row(w_type):
    load_w, store_w = load(w_type), store(w_type)
    largest_margin, exponentials = _make_row_passes(w_type)

    @inline
    def softmax_row(z, stride, row, outputs):
        largest, number = largest_margin(z, stride, row, outputs)
        scale, k = softmax_scale(*exponentials(z, stride, row, outputs, largest, number, True)), int64(0)
        while k < outputs:
            store_w(z, k * stride + row, load_w(z, k * stride + row) * scale)
            k += int64(1)

    return softmax_row


def _make_log_softmax_row(w_type):
    load_w, store_w = load(w_type), store(w_type)
    largest_margin, exponentials = _make_row_passes(w_type)

    @inline
    def log_softmax_row(z, stride, row, outputs):
        largest, number = largest_margin(z, stride, row, outputs)
        high, low = exponentials(z, stride, row, outputs, largest, number, False)
        log_total, k = log1p_nonnegative(high + low), int64(0)
        while k < outputs:
            difference, lost = below_largest(load_w(z, k * stride + row), largest)
            store_w(z, k * stride + row, log_softmax(difference, lost, log_total))
            k += int64(1)

    return log_softmax_row


# What is a function of all margins of a row
ROW_ACTIVATIONS = {"softmax": _make_softmax_row, "log_softmax": _make_log_softmax_row}


@inline
def _no_row(z, stride, row, outputs):
    """Nothing: each margin is activated alone."""


@inline
def _unchanged(value):
    """The number itself: its row has been activated."""
    return value


def _make_activation(w_type, operation, threads):
    load_w, store_w = load(w_type), store(w_type)
    activate_row = ROW_ACTIVATIONS[operation](w_type) if operation in ROW_ACTIVATIONS else _no_row
    activate = ACTIVATIONS.get(operation, _unchanged)

    @inline
    def step(z, stride, rows, outputs, of_examples, steps, out, totals, thread):
        first, n_rows = rows
        if thread < n_rows:
            activate_row(z, stride, thread, outputs)
        cuda.syncthreads()
        i = thread
        while i < n_rows * outputs:
            store_w(out, first * outputs + i, activate(load_w(z, i % outputs * stride + i // outputs)))
            i += int64(threads)

    return step
