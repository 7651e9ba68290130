"""A map made by hand."""

import math

import numpy as np

from isograd.records.trainability import Failure, Theory, TheoryPoint, Trainability

SUCCESS = [[0.95, 1.0, math.nan], [0.5, 0.97, 0.2], [0.2, 0.8, 0.3]]
GAIN = [[-math.inf, 0.0, math.nan], [-6.0, -0.2, 2.0], [-12.34, -0.5, 4.0]]


def made(columns=3, limits=(7.5, 600.0, 18.0), kind="stable", target=None):
    """Depths 5, 10, 20; three scales, repeated if more columns are wanted."""
    pick = [j % 3 for j in range(columns)]
    scales = [0.5, 1.0, 2.0] if columns == 3 else [0.5 * 1.1**j for j in range(columns)]
    success, gain = np.array(SUCCESS)[:, pick], np.array(GAIN)[:, pick]
    blank = np.where(np.isnan(success), np.nan, 1.0)
    theory = None
    if limits is not None:
        phases = ("ordered", "ordered", "chaotic")
        theory = Theory(
            tuple(
                TheoryPoint(
                    scale,
                    phases[j],
                    None if limits[j] is None else limits[j] / 6,
                    None,
                    "stable" if limits[j] is not None else kind,
                )
                for scale, j in zip(scales, pick, strict=True)
            ),
            1.327,
            "sigma_w = 1.327",
        )
    return Trainability(
        axis="sigma_w",
        depths=np.array([5, 10, 20]),
        scales=np.array(scales),
        gain_decades=gain,
        success=success,
        loss_start=2.3 * blank,
        loss_end=0.5 * blank,
        rate=0.1 * blank,
        seeds=np.where(np.isnan(success), 0, 2),
        wanted=2,
        failures=(Failure(20, scales[-1], 0, "training", "the loss is nan after 13 steps"),),
        theory=theory,
        task="digits",
        measure="accuracy",
        settings={
            "activation": "tanh",
            "sigma_b": 0.05**0.5,
            "width": 128,
            "steps": 200,
            "batch": 64,
            "rate": None,
            **({"target": target} if target else {}),
        },
        stopped="interrupted",
    )
