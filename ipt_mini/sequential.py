"""A sequential test of paired differences: it may stop after each pair.

If nothing differs, it says "better" or "worse" in 5% of the comparisons, all looks together.
"""
import io
import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch

from ipt_mini import plots

FIRST, MOST = 3, 16           # pairs before the first look, and at the last one
POWER = 0.84                  # standard errors from the boundary: a power of 0.8
LOWER = {"nats"}              # scores of which less is better


@lru_cache
def boundaries(planned, error=0.05, draws=100_000):
    """(planned + 1,): how many standard errors the mean of k paired differences has to be from 0 to
    stop there. O'Brien and Fleming's test (1979): hard to pass early, so that the last look loses
    little; the chance to pass any by mistake is `error`. With Student's t, by simulation, since few
    pairs are far from the normal limit."""
    rng = np.random.default_rng(0)
    total, squares, sizes, heights = np.zeros(draws), np.zeros(draws), [], []
    for k in range(1, planned + 1):
        x = rng.standard_normal(draws)
        total, squares = total + x, squares + x * x
        if k >= FIRST:
            variance = (squares - total ** 2 / k) / (k - 1)
            size = np.abs(total) / np.sqrt(k * variance)
            # The normal value of the same rank: a mean of few pairs then counts like one of many,
            # and with sqrt(k / planned) one limit serves all looks.
            share_above = 1 - (size.argsort().argsort() + 0.5) / draws
            normal = torch.special.ndtri(torch.from_numpy(1 - share_above / 2)).numpy()
            sizes.append(size)
            heights.append(normal * math.sqrt(k / planned))
    limit = np.quantile(np.max(heights, 0), 1 - error)       # of all looks of a comparison
    passed = [np.min(size[height > limit], initial=math.inf)
              for size, height in zip(sizes, heights)]
    return np.array([math.inf] * FIRST + passed)


class Comparison(NamedTuple):
    """What is known after some pairs. Differences are second minus first, one a seed."""
    metric: str
    first: list
    second: list
    steps: list
    minutes: float
    planned: int               # pairs, at most
    pair: tuple = ()           # the two Configs

    @property
    def differences(self):
        return np.subtract(self.second, self.first)

    @property
    def error(self):
        """The standard error of the mean difference."""
        n = len(self.first)
        return float(np.std(self.differences, ddof=1)) / math.sqrt(n) if n > 1 else math.inf

    @property
    def half(self):
        """Half the width of the 95% interval, which holds at whatever look one stops."""
        return float(boundaries(self.planned)[len(self.first)]) * self.error

    @property
    def verdict(self):
        mean = self.differences.mean()
        if not abs(mean) > self.half:                  # nan too: nothing is known yet
            return "undecided"
        return "better" if (mean > 0) != (self.metric in LOWER) else "worse"

    @property
    def visible(self):
        """How large a difference this many pairs show with a power of 0.8."""
        return self.half + POWER * self.error

    def __str__(self):
        n, mean = len(self.first), self.differences.mean()
        return (f"{self.verdict}: {self.metric} {mean:+.4f} +- {self.half:.4f}, {n} pairs of seeds "
                f"({self.steps[0]} and {self.steps[1]} steps), {self.minutes:.1f} minutes; visible "
                f"were differences of {self.visible:.4f}, with a power of 0.8")

    def _repr_png_(self):
        file = io.BytesIO()
        plots.pairs(self.first, self.second, self.metric, self.verdict, file)
        return file.getvalue()
