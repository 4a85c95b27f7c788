"""How multipliers become whole channels and blocks; each rule takes a number or an array of them, with equal results.

The rules are those of the released TinyNet code (huawei-noah/Efficient-AI-Backbones, ``tinynet_pytorch/tinynet.py``).
"""

from typing import Any

import numpy as np


def round_channels(channels: Any, divisor: int = 8) -> Any:
    """Nearest multiple of ``divisor``, at least one, and one more where rounding down would lose over 10%."""
    if isinstance(channels, np.ndarray):
        whole = np.maximum(divisor, (channels + divisor / 2).astype(np.int64) // divisor * divisor)
        return whole + divisor * (whole < 0.9 * channels)
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


def round_repeats(repeats: int, depth: Any) -> Any:
    """``repeats`` times ``depth`` to the nearest whole number, half to even, at least one."""
    if isinstance(depth, np.ndarray):
        return np.maximum(1, np.rint(repeats * depth).astype(np.int64))
    return max(1, round(repeats * depth))


def at_least(low: Any, value: Any) -> Any:
    """The larger of the two."""
    return np.maximum(low, value) if isinstance(value, np.ndarray) else max(low, value)
