"""A call of K outputs from the user's own compiled code: what `outputs` and `targets.cpu` do around the kernels.

As in `call_frame.py`, it is compiled once for all and called by symbol, one step after the other. Where tasks of one
model own columns, independent models run one after another: a turn of kernels each. Otherwise there is one turn.
"""

import math

from jitlogreg.njit.arguments import (
    BEYOND_FLOAT32,
    FEW_OUTPUTS,
    GRADIENT,
    INTERCEPT,
    INTERCEPTS_LENGTH,
    MEAN,
    PENALTIES_LENGTH,
    PENALTY,
    VALID,
    call_at,
    check_out,
    check_shapes,
    check_sums,
    classify,
    numbers_of_examples,
    take_examples,
)
from jitlogreg.njit.call_frame import (
    CHECK,
    FINISH,
    PLACE,
    RUN,
    hand_out,
    memory_of_one,
    padded_columns,
    partition_of_one,
    place_one,
    prefetching,
    serial_below,
)
from jitlogreg.simd import LANES
from jitlogreg.targets import normalize
from jitlogreg.targets.base import F
from jitlogreg.targets.compile import inline
from jitlogreg.targets.cpu import executor
from jitlogreg.targets.cpu.epilogue import DB, INVALID, LOSS, TOTALS, WEIGHT
from jitlogreg.targets.cpu.outputs import chunks
from jitlogreg.targets.cpu.partition import POINTWISE_COST, row_partition
from jitlogreg.targets.cpu.pointers import call, load_scalar, offset, pointer_to, store_scalar, store_sized
from jitlogreg.targets.cpu.problem import WORDS, problem_at
from jitlogreg.targets.cpu.squares import sum_of_numbers

# Beside the steps of `call_frame`: begin a turn, whose parts the caller runs, and end it
BEGIN_TURN, END_TURN = range(4, 6)

_mean, _penalized_loss = inline(normalize.mean), inline(normalize.penalized_loss)
_penalized_gradient = inline(normalize.penalized_gradient)


def outputs_step(step, call, x0, w0):
    """One step of a call. A null pointer tells the type of w."""
    t = call_at(call)
    if step == CHECK:
        t.refusal = _check(t)
        if t.refusal == VALID:
            _plan(t)
    elif step == PLACE:
        _place(t, w0)
    elif step == RUN:
        for _turn in range(t.turns):
            _begin_turn(t, w0)
            executor.run(problem_at(t.memory), t.memory)
            _end_turn(t, w0)
    elif step == BEGIN_TURN:
        _begin_turn(t, w0)
    elif step == END_TURN:
        _end_turn(t, w0)
    elif step == FINISH and t.operation >= MEAN and t.refusal == VALID:
        t.refusal = _check_sums(t, w0)
        if t.refusal == VALID:
            _take_means(t, w0)


@inline
def _check(t):
    """Why a call is refused, as far as it shows before labels, weights and offsets are read."""
    refusal = check_shapes(t)
    if refusal != VALID:
        return refusal
    if t.w_columns < (2 if t.softmax != 0 else 1):
        return FEW_OUTPUTS
    if t.intercepts_length != t.w_columns:
        return INTERCEPTS_LENGTH
    if t.penalties_length != t.w_columns:
        return PENALTIES_LENGTH
    for k in range(t.w_columns):
        if t.w_size == 4 and BEYOND_FLOAT32 <= abs(load_scalar(pointer_to(t.intercepts, 0.0), k)) < math.inf:
            return INTERCEPT
        if not 0 <= load_scalar(pointer_to(t.penalties, 0.0), k) < math.inf:
            return PENALTY
    return check_out(t)


# ---------------------------------------------------------------- memory


@inline
def _by_panels(t):
    """Whether models run one after another, with tasks that own columns."""
    (_, _, panel, _), _, _ = partition_of_one(t)
    return t.softmax == 0 and panel > 0


@inline
def _w_step(t):
    """Numbers from one model's packed coefficients to the next's: whole vectors, and one for the intercept."""
    return (t.n + LANES - 1) // LANES * LANES + LANES


@inline
def _width(t):
    """The totals of a model."""
    return padded_columns(t) + TOTALS


@inline
def _partition(t):
    """The partition of K outputs, whether X is in F order, and the leading dimension."""
    order, ld = classify(t.m, t.n, t.down, t.across, t.x_size)
    return row_partition(t.m, t.n, t.x_size, order == F), order == F, ld


@inline
def _memory(t):
    """What `chunks.memory` says of the call."""
    (rows, tasks, _, _), _, _ = _partition(t)
    of_tasks, room = (t.m, rows, tasks, t.w_columns, padded_columns(t)), (t.shared, t.own, 1)
    return chunks.memory(*of_tasks, room, t.w_size, load_scalar(pointer_to(t.most_threads, 0), 0), 8 * WORDS)


@inline
def _kept(t):
    """Numbers that are kept from turn to turn: the sums of all models, and the activations of one."""
    return (t.m if t.operation < MEAN else t.w_columns * _width(t)) if _by_panels(t) else 0


@inline
def _plan(t):
    """How much memory a call takes, and whether threads pay."""
    if _by_panels(t):
        t.turns, of_problem, models = t.w_columns, memory_of_one(t), 1
    else:
        t.turns, of_problem, models = 1, _memory(t)[2] // 8, t.w_columns
    t.threads = t.m * models * (t.n + POINTWISE_COST) >= serial_below(t)
    t.numbers = of_problem + _kept(t) + t.w_columns * (_w_step(t) + 1) + numbers_of_examples(t)


@inline
def _place(t, w0):
    """Pack coefficients, and take over the rest. The call may be refused for what it converts."""
    outputs, step = t.w_columns, _w_step(t)
    t.turn, t.squares_of = 0, t.memory + 8 * (t.numbers - outputs)
    t.packed = t.squares_of - 8 * outputs * step
    free = t.packed - 8 * numbers_of_examples(t)
    t.kept = free - 8 * _kept(t)
    take_examples(t, free, w0)
    packed, intercepts = pointer_to(t.packed, w0), pointer_to(t.intercepts, 0.0)
    for k in range(outputs):
        for j in range(t.n, step):
            store_scalar(packed, k * step + j, 0)
        store_scalar(packed, (k + 1) * step - LANES, load_scalar(intercepts, k))
    for j in range(t.n):
        for k in range(outputs):
            number = load_scalar(pointer_to(t.w + j * t.w_step + k * t.w_across, w0), 0)
            store_scalar(packed, k * step + j, number)


# ---------------------------------------------------------------- turns


@inline
def _begin_turn(t, w0):
    """Describe the problem of a turn."""
    p, by_panels = problem_at(t.memory), _by_panels(t)
    y_step = t.m if t.y_columns > 0 else 0
    s_step = t.m if t.s_columns > 0 else 0
    offset_step = t.m if t.offset_columns > 0 else 0
    first = t.turn * t.w_size  # of a model's numbers, in bytes, if they were one apart
    p.w, p.x, p.frame, p.squares = t.packed + first * _w_step(t), t.x, 0, t.squares
    p.y, p.s, p.weighted = t.labels + first * y_step, t.weights + first * s_step, 1 if t.s_size > 0 else 0
    p.offset = t.offsets + first * offset_step
    # means are taken once the sums of all models are there
    p.b, p.l2, p.w_size, p.dw, p.out = 0.0, 0.0, 0, 0, 0
    if by_panels:
        p.b = load_scalar(pointer_to(p.w, w0), _w_step(t) - LANES)
        p.out = t.kept if t.operation < MEAN else 0
        place_one(t, p)
    else:
        p.out = t.result if t.operation < MEAN else 0
        _place_outputs(t, p)
        p.y_step, p.s_step, p.offset_step = y_step, s_step, offset_step


@inline
def _place_outputs(t, p):
    """Write the plan of K outputs, as `plan.make_outputs_plan` makes it, to a problem; hand out memory."""
    (rows, tasks, _, sequential), f_order, ld = _partition(t)
    fields, wave, _ = _memory(t)
    p.kernel = t.rows_f if f_order else t.rows_c
    p.plan, p.reduction, p.m, p.n, p.ld = 0, 0, t.m, t.n, ld
    p.rows, p.tasks, p.panel, p.sequential = rows, tasks, 0, sequential
    p.outputs, p.w_step, p.wave = t.w_columns, _w_step(t), wave
    p.prefetch = prefetching(t, f_order, ld, rows, 0, True)
    p.n_padded, p.packed, p.vectors = padded_columns(t), 0, 1
    hand_out(t, p, fields)


@inline
def _end_turn(t, w0):
    """Add up a turn's totals, and keep those of a model alone, or its activations, for what it has beside others."""
    p, by_panels = problem_at(t.memory), _by_panels(t)
    executor.finish(p, t.memory)
    if by_panels and t.operation < MEAN:
        a, result = pointer_to(t.kept, w0), pointer_to(t.result, w0)
        for i in range(t.m if t.refusal == VALID else 0):
            store_scalar(result, i * t.w_columns + t.turn, load_scalar(a, i))
    elif by_panels:
        totals, kept = pointer_to(t.memory + p.totals, 0.0), pointer_to(t.kept, 0.0)
        for j in range(p.width):
            store_scalar(kept, t.turn * p.width + j, load_scalar(totals, j))
    t.turn += 1


# ---------------------------------------------------------------- means, as `outputs.normalize` takes them


@inline
def _sums(t):
    """The sums of all models, one after another, and of a model where those of examples begin."""
    start = t.kept if _by_panels(t) else t.memory + problem_at(t.memory).totals
    return pointer_to(start, 0.0), padded_columns(t)


@inline
def _check_sums(t, w0):
    (sums, of_examples), flawed, positive = _sums(t), False, True
    for k in range(1 if t.softmax != 0 else t.w_columns):
        of_model = offset(sums, k * _width(t) + of_examples)
        finite = load_scalar(of_model, WEIGHT) < math.inf
        flawed = flawed or load_scalar(of_model, INVALID) != 0 or not finite
        positive = positive and finite and load_scalar(of_model, WEIGHT) > 0
    return check_sums(t, t.softmax != 0, flawed, positive, w0)


@inline
def _take_means(t, w0):
    """Write means, with the penalty: dw, and the losses and db of the outputs where they are asked for."""
    sums, of_examples = _sums(t)
    outputs, softmax = t.w_columns, t.softmax != 0
    penalties, penalized = pointer_to(t.penalties, 0.0), False
    for k in range(outputs):
        penalized = penalized or load_scalar(penalties, k) != 0
    for k in range(outputs):
        of_model, l2 = offset(sums, k * _width(t)), load_scalar(penalties, k)
        weight = load_scalar(sums if softmax else of_model, of_examples + WEIGHT)
        if t.dbs != 0:
            store_scalar(pointer_to(t.dbs, 0.0), k, _mean(load_scalar(of_model, of_examples + DB), weight))
        w, result = pointer_to(t.packed + k * _w_step(t) * t.w_size, w0), t.result
        for j in range(t.n if t.operation == GRADIENT else 0):
            gradient = _mean(load_scalar(of_model, j), weight)
            if penalized:
                gradient = _penalized_gradient(gradient, l2, load_scalar(w, j))
            store_sized(result, t.w_size, j * outputs + k, gradient)
    if t.losses != 0:
        _take_losses(t, penalized)


@inline
def _take_losses(t, penalized):
    (sums, of_examples), p, outputs = _sums(t), problem_at(t.memory), t.w_columns
    losses, squares = pointer_to(t.losses, 0.0), pointer_to(t.squares_of, 0.0)
    for k in range(outputs if penalized else 0):
        p.w = t.packed + k * _w_step(t) * t.w_size
        call(t.squares, 0, t.memory)
        store_scalar(squares, k, p.square)
    if t.softmax != 0 and penalized:
        store_scalar(squares, 0, sum_of_numbers(squares, outputs))
    for k in range(1 if t.softmax != 0 else outputs):
        of_model = offset(sums, k * _width(t) + of_examples)
        loss = _mean(load_scalar(of_model, LOSS), load_scalar(of_model, WEIGHT))
        if penalized:
            l2 = load_scalar(pointer_to(t.penalties, 0.0), k)
            loss = _penalized_loss(loss, l2, load_scalar(squares, k))
        store_scalar(losses, k, loss)
