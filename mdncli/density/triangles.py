"""Lower-triangular factors of many small matrices at once: loops over T, arrays over the rest."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# Instead of a diagonal entry of zero, so that what is divided by it stays finite; its square, too.
_LEAST = 1e-150


def solved(factor: Array, y: Array) -> Array:
    """Return the z of C z = y by forward substitution, shape (..., T).

    Args:
        factor: C (..., T, T), lower-triangular with a positive diagonal.
        y: (..., T); leading axes are broadcast against those of the factor.
    """
    shape = np.broadcast_shapes(factor.shape[:-1], y.shape)
    # The axis of targets comes first in memory, so that each step runs along the rest.
    z = np.empty((shape[-1], *shape[:-1]))
    for later in range(shape[-1]):
        rest = y[..., later]
        for earlier in range(later):
            rest = rest - factor[..., later, earlier] * z[earlier]
        z[later] = rest / factor[..., later, later]
    return np.moveaxis(z, 0, -1)


def spread(factor: Array, z: Array) -> Array:
    """Return C z, shape (..., T), for C (..., T, T) and z (..., T)."""
    product: Array = np.einsum("...ij,...j->...i", factor, z)
    return product


def reordered(factor: Array, order: list[int]) -> Array:
    """Return the lower-triangular factor of C C^T with its rows and columns in another order.

    The rows of C in that order are turned into a triangle by orthogonalizing one after another
    (modified Gram and Schmidt), which never forms C C^T: nothing cancels where it is nearly
    singular, and the rows keep their norms.

    Args:
        factor: C (..., T, T).
        order: positions of the T targets.
    """
    turned = np.zeros_like(factor)
    axes: list[Array] = []
    for row, position in enumerate(order):
        rest = factor[..., position, :]
        for column, axis in enumerate(axes):
            along = (rest * axis).sum(axis=-1)
            turned[..., row, column] = along
            rest = rest - along[..., None] * axis
        length = np.maximum(np.sqrt((rest * rest).sum(axis=-1)), _LEAST)
        turned[..., row, row] = length
        axes.append(rest / length[..., None])
    return turned


def unit_rows(factor: Array) -> tuple[Array, Array]:
    """Return a factor's rows divided by their norms, (..., T, T), and the norms, (..., T)."""
    largest = np.abs(factor).max(axis=-1)
    # Divided first: the square of a tiny or a huge entry is no float.
    relative = factor / largest[..., None]
    norms = np.sqrt((relative * relative).sum(axis=-1))
    return relative / norms[..., None], largest * norms
