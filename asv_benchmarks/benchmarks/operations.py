"""The time of each public call, by target, dtype, order and shape."""

from .cases import DTYPES, ITERATIONS, ORDERS, SHAPES, TARGETS, calls_per_sample, checked_call, example


class _Operation:
    params = (TARGETS, DTYPES, ORDERS, SHAPES)
    param_names = ("target", "dtype", "order", "shape")
    evaluations = 1
    # two processes for each commit, and 4 to 8 samples in each: fewer than 6 in all are never found to differ
    rounds, repeat, warmup_time = 2, (4, 8, 0.1), 0.02

    def setup(self, *parameters):
        # asv calls this before every call that it times; only new parameters are worth new data and a check
        if getattr(self, "ready_for", None) == parameters:
            return
        target, dtype, order, shape = parameters
        data = example(shape, dtype, order)
        self.call = checked_call(self.operation, target, data)
        self.number = calls_per_sample(data.X.nbytes, self.evaluations)
        self.ready_for = parameters

    def time_call(self, target, dtype, order, shape):
        self.call()


class Forward(_Operation):
    operation = "forward"


class LossAndGradient(_Operation):
    operation = "loss_and_gradient"


class _SameKernel(_Operation):
    """What runs the kernel of LossAndGradient: in one process for each commit, which takes half as long."""

    rounds, repeat = 1, (8, 12, 0.2)


class Loss(_SameKernel):
    operation = "loss"


class Gradient(_SameKernel):
    operation = "gradient"


class GradientDescent(_SameKernel):
    operation = "gradient_descent"
    evaluations = ITERATIONS + 1


class HessianVector(_Operation):
    operation = "hessian_vector"


class Hessian(_Operation):
    operation = "hessian"
    evaluations = 2  # what it computes is as much as two evaluations or more
