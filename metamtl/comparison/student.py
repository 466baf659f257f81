"""Student's t distribution through the regularised incomplete beta function (Abramowitz & Stegun 1964, 26.7.1)."""

from __future__ import annotations

import math
from functools import lru_cache

_TINY = 1e-300
_PRECISION = 1e-15
_MOST_TERMS = 100_000


def two_sided_p(t: float, freedom: float) -> float:
    """P(|T| >= |t|) of Student's t with `freedom` > 0 degrees of freedom; NaN for NaN."""
    if math.isnan(t):
        return math.nan
    if math.isinf(t):
        return 0.0
    whole = freedom + t * t
    return _incomplete_beta(freedom / 2, 0.5, freedom / whole, t * t / whole)


@lru_cache(256)
def t_quantile(confidence: float, freedom: float) -> float:
    """The t with P(|T| <= t) = `confidence`, in (0, 1): for 0.95 the factor of a 95% interval."""
    high = 1.0
    while two_sided_p(high, freedom) > 1 - confidence:
        high *= 2
    low = 0.0
    while (middle := (low + high) / 2) not in (low, high):
        if two_sided_p(middle, freedom) > 1 - confidence:
            low = middle
        else:
            high = middle
    return high


def incomplete_beta(a: float, b: float, x: float) -> float:
    """I_x(a, b) for x in [0, 1], by its continued fraction (Abramowitz & Stegun 1964, 26.5.8)."""
    return _incomplete_beta(a, b, x, 1.0 - x)


def _incomplete_beta(a: float, b: float, x: float, y: float) -> float:
    """I_x(a, b) with y = 1 - x, which keeps its digits where x is nearly 1."""
    if x <= 0.0 or y <= 0.0:
        return 0.0 if x <= 0.0 else 1.0
    # The fraction converges fast on this side of the mean alone.
    if x > (a + 1) / (a + b + 2):
        return 1.0 - _incomplete_beta(b, a, y, x)
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log(y)
    return math.exp(log_front) * _fraction(a, b, x) / a


def _fraction(a: float, b: float, x: float) -> float:
    """1 / (1 + d1 / (1 + d2 / ...)) by the modified method of Lentz (Thompson & Barnett 1986)."""
    value, c, d = 1.0, math.inf, 1.0
    for number in range(1, _MOST_TERMS):
        m = number // 2
        if number % 2:
            term = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            term = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        d = 1.0 / _not_zero(1.0 + term * d)
        c = _not_zero(1.0 + term / c)
        value *= c * d
        if abs(c * d - 1.0) < _PRECISION:
            break
    return value


def _not_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY
