"""Adam for several networks at once, with a moving average of the weights.

Constructing an optimizer of `torch.optim` imports PyTorch's compiler, which takes longer than
learning from a small table. This one does not.
"""

import contextlib
from collections.abc import Iterator

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
            # Biases do not decay, because those of the means place the components. Frequencies do
            # decay, like weights, which makes curves smoother.
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
        # PyTorch imports its compiler for the gradient of anything but a scalar. The gradient of
        # this scalar is the same.
        with torch.enable_grad():
            scalar = torch.dot(raw.flatten(), gradient.flatten())
        slopes = torch.autograd.grad(scalar, self._views, allow_unused=True, materialize_grads=True)
        slope = torch.cat([slope.flatten(1) for slope in slopes], 1)
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

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """Give the networks the averaged weights inside the block."""
        current = self.weights.clone()
        self.weights.copy_(self.average)
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
