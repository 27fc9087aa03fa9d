"""Adam and Soap for several networks at once.

Constructing an optimizer of `torch.optim` imports PyTorch's compiler, which takes longer than
learning from a small table. This one does not.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor

from mdncli.learning.network import Perceptrons

_BETA1 = 0.9
_BETA2 = 0.99
_EPSILON = 1e-8
_LARGEST_NORM = 1.0
_AVERAGE_DECAY = 0.98
_AVERAGE_START = 20
# Of Soap: the decay of all its averages, and the steps between two turns of its eigenvectors.
_SOAP_DECAY = 0.95
_TURN_EVERY = 40


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
        steps: since the moments were zero.
        gradients: returns the gradient of a scalar with respect to each weight of the networks.
    """

    def __init__(self, networks: Perceptrons, device: torch.device, *, weight_decay: float) -> None:
        starts = [start.detach() for start in networks.parameters()]
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
        self.gradients: Callable[[Tensor], Sequence[Tensor]] = self._own_gradients
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
        slope = self._slope(raw, gradient)
        # One norm for each member, so that its steps do not depend on the other members.
        norm = torch.linalg.vector_norm(slope, dim=1, keepdim=True)
        if not bool(torch.isfinite(norm).all()):
            return False
        slope.mul_((_LARGEST_NORM / norm).clamp(max=1.0))
        self.steps += 1
        self.weights.addcmul_(self.weights, self._decay, value=-rate)
        self._update(slope, rate)
        keep = _AVERAGE_DECAY if self.steps > _AVERAGE_START else 0.0
        self.average.lerp_(self.weights, 1.0 - keep)
        return True

    def _update(self, slope: Tensor, rate: float) -> None:
        """Move the weights, given the gradient of each, (M, P)."""
        self._first.lerp_(slope, 1.0 - _BETA1)
        self._second.mul_(_BETA2).addcmul_(slope, slope, value=1.0 - _BETA2)
        spread = (self._second / (1.0 - _BETA2**self.steps)).sqrt_().add_(_EPSILON)
        self.weights.addcdiv_(self._first, spread, value=-rate / (1.0 - _BETA1**self.steps))

    def _slope(self, raw: Tensor, gradient: Tensor) -> Tensor:
        # PyTorch imports its compiler for the gradient of anything but a scalar. The gradient of
        # this scalar is the same.
        with torch.enable_grad():
            scalar = torch.dot(raw.flatten(), gradient.flatten())
        return torch.cat([slope.flatten(1) for slope in self.gradients(scalar)], 1)

    def _own_gradients(self, scalar: Tensor) -> Sequence[Tensor]:
        return torch.autograd.grad(scalar, self._views, allow_unused=True, materialize_grads=True)

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

    def tensors(self) -> dict[str, Tensor]:
        """Return all that later steps depend on, beside the number of steps."""
        return {"weights": self.weights, "average": self.average, **self._tensors_of_moments()}

    def set_tensors(self, tensors: Mapping[str, Tensor], steps: int) -> None:
        """Go on from what `tensors` returned after so many steps."""
        self.steps = steps
        for name, present in self.tensors().items():
            present.copy_(tensors[name])

    def _tensors_of_moments(self) -> dict[str, Tensor]:
        return {"first": self._first, "second": self._second}

    def _reset_moments(self) -> None:
        self.steps = 0
        self._first = torch.zeros_like(self.weights)
        self._second = torch.zeros_like(self.weights)


class Soap(AveragedAdam):
    """Adam in the eigenbasis of Shampoo's preconditioner (Vyas et al. 2024, algorithm 3).

    For a weight matrix with gradient G, moving averages of G G^T and G^T G have the eigenvectors Q
    and R. Adam runs on Q^T G R, where the entries of the gradient are nearly uncorrelated. A step
    costs twice as much as Adam's, and gets several times as far where the loss is badly scaled, as
    it is where sigma becomes small.
    """

    def _reset_moments(self) -> None:
        self.steps = 0
        self._moments: list[_Moments] = [_Moments(view) for view in self._views]

    def _tensors_of_moments(self) -> dict[str, Tensor]:
        return {
            f"{place}.{name}": tensor
            for place, moments in enumerate(self._moments)
            for name, tensor in moments.tensors().items()
        }

    def _update(self, slope: Tensor, rate: float) -> None:
        parts = torch.split(slope, [view[0].numel() for view in self._views], 1)
        updates = [
            moments.update(part.view(view.shape), self.steps).flatten(1)
            for moments, part, view in zip(self._moments, parts, self._views, strict=True)
        ]
        self.weights.add_(torch.cat(updates, 1), alpha=-rate)


class _Moments:
    """The moving averages of one weight matrix of every member, (M, out, in), or of a bias."""

    def __init__(self, like: Tensor) -> None:
        self._first, self._second = torch.zeros_like(like), torch.zeros_like(like)
        # A bias, or a layer without inputs, has no preconditioner.
        self._rotates = like.ndim > 2 and like.numel() > 0
        if self._rotates:
            members, outputs, inputs = like.shape
            self._left = like.new_zeros((members, outputs, outputs))
            self._right = like.new_zeros((members, inputs, inputs))
            self._q, self._r = torch.zeros_like(self._left), torch.zeros_like(self._right)

    def tensors(self) -> dict[str, Tensor]:
        """Return all averages and eigenvectors by name."""
        names = ["first", "second", *(("left", "right", "q", "r") if self._rotates else ())]
        return {name: getattr(self, f"_{name}") for name in names}

    def update(self, slope: Tensor, steps: int) -> Tensor:
        """Return the direction of a step, of the shape of the gradient."""
        if self._rotates:
            self._left.lerp_(slope @ slope.mT, 1.0 - _SOAP_DECAY)
            self._right.lerp_(slope.mT @ slope, 1.0 - _SOAP_DECAY)
            self._turn(steps)
        self._first.lerp_(slope, 1.0 - _SOAP_DECAY)
        rotated = self._rotated(slope)
        self._second.mul_(_SOAP_DECAY).addcmul_(rotated, rotated, value=1.0 - _SOAP_DECAY)
        correction = 1.0 - _SOAP_DECAY**steps
        spread = (self._second / correction).sqrt_().add_(_EPSILON)
        direction = self._rotated(self._first) / correction / spread
        return self._q @ direction @ self._r.mT if self._rotates else direction

    def _rotated(self, slope: Tensor) -> Tensor:
        return self._q.mT @ slope @ self._r if self._rotates else slope

    def _turn(self, steps: int) -> None:
        """Find the eigenvectors at first, and improve them by one power iteration from then on."""
        if steps == 1:
            self._set_bases(torch.linalg.eigh(self._left)[1], torch.linalg.eigh(self._right)[1])
        elif steps % _TURN_EVERY == 0:
            left, right = self._left @ self._q, self._right @ self._r
            self._set_bases(torch.linalg.qr(left)[0], torch.linalg.qr(right)[0])

    def _set_bases(self, q: Tensor, r: Tensor) -> None:
        # The last bits of a product depend on the order in memory, which no checkpoint keeps.
        self._q, self._r = q.contiguous(), r.contiguous()
