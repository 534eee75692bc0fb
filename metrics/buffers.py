"""Arrays that grow while images arrive."""

from __future__ import annotations

import numpy as np


class Buffer:
    """A one-dimensional array that grows at its end, at most an eighth larger than what it holds."""

    def __init__(self, dtype: type[np.generic]) -> None:
        self._array = np.empty(0, dtype=dtype)
        self._used = 0

    def __len__(self) -> int:
        return self._used

    def extend(self, values: np.ndarray) -> None:
        """Append `values` (n,)."""
        end = self._used + values.size
        if end > self._array.size:
            # The system moves pages instead of copying them: growing costs neither time nor a second array.
            self._array.resize(end + end // 8, refcheck=False)
        self._array[self._used : end] = values
        self._used = end

    @property
    def values(self) -> np.ndarray:
        """What the buffer holds, as a view that is valid until the next `extend`."""
        return self._array[: self._used]
