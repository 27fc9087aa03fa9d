"""Adam and L-BFGS for several networks at once.

Constructing an optimizer of `torch.optim` imports PyTorch's compiler, which takes longer than
learning from a small table. This one does not.
"""

import contextlib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from mdncli.learning.network import Perceptrons

_BETA1 = 0.9
_BETA2 = 0.99
_EPSILON = 1e-8
_LARGEST_NORM = 1.0
_AVERAGE_DECAY = 0.98
_AVERAGE_START = 20


class AveragedAdam:
    """Adam (Kingma and Ba 2015, algorithm 1) with decoupled weight decay.

    The weight decay is that of Loshchilov and Hutter (2019). The weights of the networks become
    views of one tensor, so that a step takes few operations for any number of layers and members.
    The optimizer also keeps an exponential moving average of the weights, because its loss varies
    less from step to step than the loss of the weights.

    Args:
        networks: their weights become views of `weights`.
        device: where the weights are kept.
        weight_decay: the decay of a weight in a step, as a multiple of the learning rate.

    Attributes:
        weights: (M, P), all P weights of each member.
        average: (M, P), their moving average.
    """

    def __init__(self, networks: Perceptrons, device: torch.device, *, weight_decay: float) -> None:
        starts = networks.parameters()
        self.weights = torch.cat([start.flatten(1) for start in starts], 1).to(device)
        self.average = self.weights.clone()
        self._decay = torch.zeros_like(self.weights[:1])
        self._views, end = [], 0
        for start in starts:
            place = slice(end, end + start[0].numel())
            self._views.append(self.weights[:, place].view(start.shape).requires_grad_())
            # Biases do not decay, because those of the means place the components.
            self._decay[:, place] = weight_decay if start.ndim > 2 else 0.0
            end = place.stop
        networks.set_parameters(self._views)
        self._reset_moments()

    @torch.no_grad()
    def step(self, raw: Tensor, gradient: Tensor, rate: float) -> bool:
        """Take one step, and return whether it was taken.

        Args:
            raw: the outputs of the networks, (M, O, N), with their computation graph.
            gradient: of the loss with respect to these outputs, (M, O, N).
            rate: the learning rate.

        Returns:
            False if the gradient of a weight is NaN or infinite. Then nothing changes.
        """
        slope = self.slope(raw, gradient)
        # One norm for each member, so that its steps do not depend on the other members.
        norm = torch.linalg.vector_norm(slope, dim=1, keepdim=True)
        if not bool(torch.isfinite(norm).all()):
            return False
        slope.mul_((_LARGEST_NORM / norm).clamp(max=1.0))
        self._steps += 1
        self._first.lerp_(slope, 1.0 - _BETA1)
        self._second.mul_(_BETA2).addcmul_(slope, slope, value=1.0 - _BETA2)
        spread = (self._second / (1.0 - _BETA2**self._steps)).sqrt_().add_(_EPSILON)
        self.weights.addcmul_(self.weights, self._decay, value=-rate)
        self.weights.addcdiv_(self._first, spread, value=-rate / (1.0 - _BETA1**self._steps))
        keep = _AVERAGE_DECAY if self._steps > _AVERAGE_START else 0.0
        self.average.lerp_(self.weights, 1.0 - keep)
        return True

    def slope(self, raw: Tensor, gradient: Tensor) -> Tensor:
        """Return the gradient of the loss with respect to the weights, (M, P); see `step`."""
        # PyTorch imports its compiler for the gradient of anything but a scalar. The gradient of
        # this scalar is the same.
        with torch.enable_grad():
            scalar = torch.dot(raw.flatten(), gradient.flatten())
        slopes = torch.autograd.grad(scalar, self._views, allow_unused=True, materialize_grads=True)
        return torch.cat([slope.flatten(1) for slope in slopes], 1)

    @contextlib.contextmanager
    def replaced(self, weights: Tensor) -> Iterator[None]:
        """Give the networks other weights, (M, P), inside the block."""
        current = self.weights.clone()
        self.weights.copy_(weights)
        try:
            yield
        finally:
            self.weights.copy_(current)

    def state(self) -> tuple[Tensor, Tensor]:
        """Return copies of the weights and of their moving average."""
        return self.weights.clone(), self.average.clone()

    def restore(self, state: tuple[Tensor, Tensor]) -> None:
        """Return to an earlier state, with all moments at zero."""
        self.weights.copy_(state[0])
        self.average.copy_(state[1])
        self._reset_moments()

    def _reset_moments(self) -> None:
        self._steps = 0
        self._first = torch.zeros_like(self.weights)
        self._second = torch.zeros_like(self.weights)


# The pairs of steps and changes of the gradient that L-BFGS remembers.
_MEMORY = 20
# A step must lower the loss by at least this share of what the slope promises (Armijo).
_SUFFICIENT = 1e-4
_SHORTER = 0.4
_MOST_TRIALS = 8
_FIRST_LENGTH = 0.02


class QuasiNewton:
    """L-BFGS for several members at once, each with its own step length and memory.

    The direction is that of Nocedal and Wright (2006, algorithm 7.4). Every evaluation serves all
    members: one whose trial lowers its loss enough takes the step, and another tries a shorter one
    (backtracking, algorithm 3.1).

    Args:
        weights: (M, P), the first weights.
        evaluate: returns the loss, (M,), and its gradient, (M, P), at weights (M, P).
    """

    def __init__(
        self, weights: Tensor, evaluate: Callable[[Tensor], tuple[Tensor, Tensor]]
    ) -> None:
        self._evaluate = evaluate
        self.weights = weights.clone()
        self._loss, self._slope = evaluate(weights)
        members = len(weights)
        self._steps, self._changes = weights.new_zeros((2, _MEMORY, *weights.shape))
        self._rho = weights.new_zeros((_MEMORY, members))
        self._gamma, self._length, self._trials = weights.new_ones((3, members))
        self._direction = self._downhill()

    def step(self) -> None:
        """Evaluate one trial of every member, and let it take the step or shorten it."""
        trial = self.weights + self._length[:, None] * self._direction
        loss, slope = self._evaluate(trial)
        promised = self._length * (self._slope * self._direction).sum(1)
        taken = torch.isfinite(loss) & (loss <= self._loss + _SUFFICIENT * promised)
        self._remember(taken, trial - self.weights, slope - self._slope)
        self.weights = torch.where(taken[:, None], trial, self.weights)
        self._slope = torch.where(taken[:, None], slope, self._slope)
        self._loss = torch.where(taken, loss, self._loss)
        self._trials = torch.where(taken, 1.0, self._trials + 1.0)
        self._length = torch.where(taken, 1.0, self._length * _SHORTER)
        self._direction = torch.where(taken[:, None], self._two_loops(), self._direction)
        self._start_again(self._trials > _MOST_TRIALS)

    def _remember(self, taken: Tensor, step: Tensor, change: Tensor) -> None:
        curvature, size = (step * change).sum(1), (change * change).sum(1)
        kept = taken & (curvature > 1e-10 * size) & (size > 0.0)
        for memory, new in ((self._steps, step), (self._changes, change)):
            memory[:, kept] = torch.cat([memory[1:, kept], new[None, kept]])
        rho = 1.0 / torch.where(kept, curvature, 1.0)
        self._rho[:, kept] = torch.cat([self._rho[1:, kept], rho[None, kept]])
        self._gamma = torch.where(kept, curvature / torch.where(kept, size, 1.0), self._gamma)

    def _two_loops(self) -> Tensor:
        """Return the direction of every member; downhill where it would not be."""
        direction, alphas = -self._slope, []
        memory = list(zip(self._steps, self._changes, self._rho, strict=True))
        for step, change, rho in reversed(memory):
            alphas.append(rho * (step * direction).sum(1))
            direction = direction - alphas[-1][:, None] * change
        direction = direction * self._gamma[:, None]
        for step, change, rho in memory:
            beta = rho * (change * direction).sum(1)
            direction = direction + (alphas.pop() - beta)[:, None] * step
        falls = (direction * self._slope).sum(1) < 0.0
        return torch.where(falls[:, None], direction, self._downhill())

    def _downhill(self) -> Tensor:
        norm = torch.linalg.vector_norm(self._slope, dim=1, keepdim=True)
        return -_FIRST_LENGTH * self._slope / norm.clamp(min=1e-12)

    def _start_again(self, failed: Tensor) -> None:
        """Forget what was remembered of some members, and go downhill."""
        if not bool(failed.any()):
            return
        for memory in (self._steps, self._changes, self._rho):
            memory[:, failed] = 0.0
        self._gamma = torch.where(failed, 1.0, self._gamma)
        self._length = torch.where(failed, 1.0, self._length)
        self._trials = torch.where(failed, 1.0, self._trials)
        self._direction = torch.where(failed[:, None], self._downhill(), self._direction)
