"""How many trainings of what length fit into the time.

Wall time of a training depends on the machine and on what else runs there, so it is measured as
trials come in; what is planned next uses the latest number.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

STEPS = 200
FEWEST = 30
# Shares of the time limit: by when screening ends, that of neighbours too, and how much of it all
# trainings may fill.
SCREENED, SCREENED_NEAR = 0.45, 0.6
_FILLED = 0.7
# A check of a fixed copy takes about as long as this many trainings.
CHECK = 1.5
FINALISTS = 4
# What is proven trains this many times as long, to see what stays stable.
LONGER = 3


@dataclass
class Plan:
    """Time that is left and what a training takes of it.

    Attributes:
        limit: Seconds for everything.
        arm: Seconds of wall time for one training, with as many at a time as there are jobs.
        fixed: Part of it that does not depend on the number of steps.
        steps: Length of a training.
    """

    limit: float
    arm: float = 0.0
    fixed: float = 0.0
    steps: int = STEPS
    _began: float = field(default_factory=time.monotonic)

    @property
    def deadline(self) -> float:
        """End of everything, as `time.monotonic()`."""
        return self._began + self.limit

    def after(self, share: float) -> float:
        """When this share of the limit is over."""
        return self._began + share * self.limit

    @property
    def left(self) -> float:
        """Seconds until the deadline."""
        return max(0.0, self.deadline - time.monotonic())

    @property
    def each(self) -> float:
        """Seconds that one training may take: what does not end is ended."""
        usual = 5.0 + 20 * self.arm
        return min(self.limit / 3, usual) if self.arm else self.limit / 3

    def timed(self, elapsed: float, arms: int, training: float, steps: int) -> None:
        """Learn from some short trainings.

        Args:
            elapsed: Wall time of all.
            arms: How many.
            training: Seconds of its steps, of one.
            steps: Their number.
        """
        self.arm = elapsed / arms
        self.fixed = max(0.0, elapsed - training) / arms
        self._step = (self.arm - self.fixed) / steps

    def choose_steps(self, arms: float) -> None:
        """As many steps as let this many trainings fit, from 30 to 200 by tens."""
        fitting = (_FILLED * self.left / arms - self.fixed) / max(self._step, 1e-9)
        self.steps = int(min(STEPS, max(FEWEST, fitting // 10 * 10)))
        self.arm = self.fixed + self.steps * self._step

    def took(self, elapsed: float, arms: float) -> None:
        """Learn from trainings of the planned length."""
        if arms > 0 and elapsed > 0:
            self.arm = elapsed / arms

    def proof(self, finalists: int, seeds: int, parts: int) -> float:
        """Seconds that a proof takes."""
        return self.arm * (finalists * (CHECK + seeds) + seeds * (1 + parts))

    def finalists(self, hopeful: int, seeds: int) -> int:
        """For how many fixes there is time to prove, with trainings cut by half if need be.

        One at least; the best on one seed may be so by chance, so that more are worth shorter
        trainings.
        """
        most = min(hopeful, FINALISTS)
        for many in range(most, 1, -1):
            fitting = 0.9 * self.left / self.proof(many, seeds, min(many, 2)) if self.arm else 1.0
            if fitting >= 1:
                return many
            if fitting >= 0.5 and many <= 3 and self.steps >= 2 * FEWEST:
                self.steps = int(max(FEWEST, fitting * self.steps))
                return many
        return min(most, 1)
