"""Array types that several rooms share."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Positions = NDArray[np.int64]
# Of either precision.
Numbers = NDArray[Any]
