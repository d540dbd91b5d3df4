"""When a service that has ended is started again: the policy, the bound on restarts, and the waits between them."""

from __future__ import annotations

from collections import deque

__all__ = ["LONGEST_WAIT", "SHORTEST_WAIT", "Restarts"]

SHORTEST_WAIT, LONGEST_WAIT = 0.1, 10.0
"""Seconds before the first restart and the most before any. Shorter, and a service that cannot reach its server keeps
a core and the server busy; longer, and it stays away after the server has come back."""


class Restarts:
    """The restarts of one service: at most so many within so many seconds, as Erlang's supervisors count them.

    :param always: whether a normal end is a reason to restart.
    :param most: restarts within ``within`` seconds.
    """

    def __init__(self, *, always: bool, most: int, within: float) -> None:
        self.always = always
        self.most = most
        self.within = within
        self._at: deque[float] = deque(maxlen=max(most, 1))  # instants of the latest restarts
        self._in_a_row = 0

    def next_wait(self, now: float, ran: float) -> float | None:
        """The service has ended: after how many seconds it is started again; None if that were too often.

        :param now: the instant.
        :param ran: seconds since it was ready; 0 if it was not.
        """
        if ran >= self.within:
            self._in_a_row = 0
        while self._at and now - self._at[0] >= self.within:
            self._at.popleft()
        if len(self._at) >= self.most:
            return None
        self._at.append(now)
        wait: float = min(LONGEST_WAIT, SHORTEST_WAIT * 2 ** min(self._in_a_row, 10))
        self._in_a_row += 1
        return wait
