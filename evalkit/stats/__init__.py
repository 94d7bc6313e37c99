"""Pure functions of arrays: standard errors, intervals, tests."""

from evalkit.stats.intervals import (
    Estimate,
    clustered_stderr,
    estimate_mean,
    mean_stderr,
    student_interval,
    wilson,
)

__all__ = [
    "Estimate",
    "clustered_stderr",
    "estimate_mean",
    "mean_stderr",
    "student_interval",
    "wilson",
]
