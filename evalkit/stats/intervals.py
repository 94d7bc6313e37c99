"""Standard errors and 95% intervals of a mean, by the formula that fits the data.

Sources: E. B. Wilson, "Probable inference, the law of succession, and statistical inference",
JASA 22 (1927); E. Miller, "Adding Error Bars to Evals", arXiv:2411.00640 (clustered errors).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from evalkit.records import Record

#: The standard normal quantile of a two-sided 95% interval.
Z95 = 1.959963984540054

Floats = npt.NDArray[np.float64]


class Estimate(Record, frozen=True, kw_only=True):
    """A number with its uncertainty; `stderr=None` means that none can be given."""

    value: float
    n: int
    stderr: float | None = None
    low: float | None = None
    high: float | None = None
    method: str = ""


def mean_stderr(values: Sequence[float] | Floats) -> float | None:
    """The standard error of a mean, s/sqrt(n) with the n-1 variance; None for fewer than two."""
    array = np.asarray(values, dtype=np.float64)
    if array.size < 2:
        return None
    return float(array.std(ddof=1) / math.sqrt(array.size))


def clustered_stderr(values: Sequence[float] | Floats, clusters: Sequence[str]) -> float | None:
    """The standard error of a mean whose samples share sources.

    Args:
        values: n scores.
        clusters: The n names of what each sample belongs to.

    Returns:
        sqrt(G/(G-1) * sum over clusters of (sum of residuals)^2) / n for G clusters, or None
        for fewer than two. Equals `mean_stderr` where every sample is its own cluster.
    """
    array = np.asarray(values, dtype=np.float64)
    _, index = np.unique(np.asarray(clusters, dtype=object).astype(str), return_inverse=True)
    groups = int(index.max()) + 1 if array.size else 0
    if groups < 2:
        return None
    sums = np.bincount(index, weights=array - array.mean())
    return float(math.sqrt(groups / (groups - 1) * float(sums @ sums)) / array.size)


def wilson(successes: float, n: int, z: float = Z95) -> tuple[float, float]:
    """Wilson's score interval of a proportion; honest at 0 and 1, where the normal one is empty.

    Raises:
        ValueError: `n` is not positive.
    """
    if n <= 0:
        raise ValueError(f"n must be positive, got {n}")
    p = successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def student_interval(value: float, stderr: float, n: int) -> tuple[float, float]:
    """The 95% interval of a mean of `n` values by Student's t with n-1 degrees of freedom."""
    from scipy.special import stdtrit  # heavy; small n needs the exact quantile

    quantile = float(stdtrit(n - 1, 0.975)) if n > 1 else math.inf
    return value - quantile * stderr, value + quantile * stderr


def estimate_mean(
    values: Sequence[float] | Floats, clusters: Sequence[str] | None = None
) -> Estimate:
    """The mean of `values` with standard error and 95% interval.

    Zeros and ones take Wilson's interval, other values Student's; where `clusters` repeat,
    the error is the clustered one and the interval Student's over the number of clusters.

    Raises:
        ValueError: There are no values.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.size == 0:
        raise ValueError("a mean needs at least one value, got none")
    value, n = float(array.mean()), int(array.size)
    if clusters is not None and len(set(clusters)) < n:
        return _clustered(array, clusters)
    stderr = mean_stderr(array)
    if bool(np.all((array == 0) | (array == 1))):
        low, high = wilson(float(array.sum()), n)
        return Estimate(value=value, n=n, stderr=stderr, low=low, high=high, method="wilson")
    if stderr is None:
        return Estimate(value=value, n=n, method="single value")
    low, high = student_interval(value, stderr, n)
    return Estimate(value=value, n=n, stderr=stderr, low=low, high=high, method="student")


def _clustered(array: Floats, clusters: Sequence[str]) -> Estimate:
    value, n, groups = float(array.mean()), int(array.size), len(set(clusters))
    stderr = clustered_stderr(array, clusters)
    method = f"clustered ({groups} clusters)"
    if stderr is None:
        return Estimate(value=value, n=n, method=method)
    low, high = student_interval(value, stderr, groups)
    return Estimate(value=value, n=n, stderr=stderr, low=low, high=high, method=method)
