"""Adam over one flat vector of weights a member, with the running average of the weights beside it.

Our own because constructing a `torch.optim` optimizer imports PyTorch's compiler, which takes
longer than learning a small table.
"""

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor

from mdncli.learning.network import Perceptrons

_BETA1 = 0.9
_BETA2 = 0.99
_EPSILON = 1e-8
_LONGEST_GRADIENT = 1.0
_AVERAGE_DECAY = 0.98
_AVERAGE_START = 20


class AveragedAdam:
    """Adam (Kingma and Ba 2015, algorithm 1) with decoupled weight decay.

    The decay is that of Loshchilov and Hutter (2019). The networks' weights become views of one
    tensor, so a step is a handful of operations whatever the number of layers and members. Their
    exponential moving average follows them: its loss is steadier than theirs, and it is what a
    network is judged by.

    Attributes:
        weights: (M, P), a row of all weights for each member.
        average: likewise, of their averages.
    """

    def __init__(self, networks: Perceptrons, device: torch.device, *, weight_decay: float) -> None:
        starts = networks.parameters()
        self.weights = torch.cat([start.flatten(1) for start in starts], 1).to(device)
        self.average = self.weights.clone()
        self._decay = torch.zeros_like(self.weights[:1])
        self._views, end = [], 0
        for start in starts:
            part = slice(end, end + start[0].numel())
            self._views.append(self.weights[:, part].view(start.shape).requires_grad_())
            # Biases do not decay: those of the means hold where the components are. Frequencies
            # do, as weights: towards slower, smoother curves.
            self._decay[:, part] = weight_decay if start.ndim > 2 else 0.0
            end = part.stop
        networks.hold(self._views)
        self._forget()

    @torch.no_grad()
    def step(self, raw: Tensor, gradient: Tensor, rate: float) -> bool:
        """Take one step down a gradient that is given at the networks' output.

        Args:
            raw: the output, (M, O, N), still attached to the networks.
            gradient: of the loss with respect to it, (M, O, N).
            rate: the learning rate.

        Returns:
            Whether it was taken: a gradient that is NaN or inf changes nothing.
        """
        # A scalar with this gradient: given the gradient itself, PyTorch would import its compiler.
        with torch.enable_grad():
            scalar = torch.dot(raw.flatten(), gradient.flatten())
        parts = torch.autograd.grad(scalar, self._views, allow_unused=True, materialize_grads=True)
        slope = torch.cat([part.flatten(1) for part in parts], 1)
        # Each member's own: a member's steps do not depend on who learns beside it.
        norm = torch.linalg.vector_norm(slope, dim=1, keepdim=True)
        if not bool(torch.isfinite(norm).all()):
            return False
        slope.mul_((_LONGEST_GRADIENT / norm).clamp(max=1.0))
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
        """Let the networks hold the averaged weights inside the block."""
        current = self.weights.clone()
        self.weights.copy_(self.average)
        try:
            yield
        finally:
            self.weights.copy_(current)

    def state(self) -> tuple[Tensor, Tensor]:
        """Return copies of the weights and of their average."""
        return self.weights.clone(), self.average.clone()

    def put_back(self, state: tuple[Tensor, Tensor]) -> None:
        """Return to an earlier state, without its momentum."""
        self.weights.copy_(state[0])
        self.average.copy_(state[1])
        self._forget()

    def _forget(self) -> None:
        self._steps = 0
        self._first = torch.zeros_like(self.weights)
        self._second = torch.zeros_like(self.weights)
