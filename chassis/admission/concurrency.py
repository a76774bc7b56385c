"""How many calls are in work at once: fewer while they take long, as TCP finds its window.

Calls beyond what the database and the processor can do at once only wait for each other. While the
service is asked for more than it can do, all of them would end late, for callers that have gone.
gRPC hands calls over in the order in which they came: of a long line we would take those that are
about to end, one after the other, and serve all of them for nothing. So a call must have the time
left that calls have been seen to need, and is refused at once where it has not.
"""

from __future__ import annotations

from chassis.admission.gate import Gate

# What a call in work may take on average.
TARGET_SECONDS = 0.2
SMOOTHING = 1 / 16
FORGETTING = 1 / 256
CUT = 0.75


class ConcurrencyLimit:
    """Sets the total of a gate by how long the calls take that hold a part of it.

    The total grows by one for as many calls as it lets in. It is cut by a quarter where calls take
    too long; then those that began before are no reason to cut it again.
    """

    def __init__(self, gate: Gate, least: int) -> None:
        """The gate's total is the most that is allowed."""
        self._gate = gate
        self._most = gate.total
        self._least = min(least, self._most)
        self._limit = float(self._most)
        self._cut_at = 0.0
        self.average_seconds = 0.0
        self.needed_seconds = 0.0

    def ended_late(self, given: float) -> None:
        """Count a call that was served for nothing: its caller had left it `given` seconds."""
        self.needed_seconds = max(self.needed_seconds, 2 * given)

    def ended(self, began: float, now: float) -> None:
        """Count a call that was in work from `began` until `now`."""
        self.needed_seconds += (now - began - self.needed_seconds) * FORGETTING
        if began < self._cut_at:
            return
        self.average_seconds += (now - began - self.average_seconds) * SMOOTHING
        if self.average_seconds > TARGET_SECONDS:
            self._limit = max(self._limit * CUT, self._least)
            self._cut_at, self.average_seconds = now, TARGET_SECONDS * CUT
        else:
            self._limit = min(self._limit + 1 / self._limit, self._most)
        self._gate.total = int(self._limit)
