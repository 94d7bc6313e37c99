"""How many calls a server takes at once: as many as make it faster, found while asking.

A server answers the faster the more it is asked at once, up to its knee; beyond it every call
only waits longer. The search doubles the calls in flight as long as that makes answers come
faster (and halves them, where it began beyond the knee), and then settles where Little's law
puts the knee (calls in flight = answers a second x seconds an answer; Little 1961,
https://doi.org/10.1287/opre.9.3.383): the best rate times the latency of the server at ease,
and a quarter more so that it never runs dry.
"""

from __future__ import annotations

from evalkit.records import Record

#: What twice the calls must bring, as a factor of the answers a second, to be worth it.
WORTH_IT = 1.2
#: What the settled number has above the knee.
HEADROOM = 1.25
#: The least that a level is measured for, besides one turnover of its calls: answers, and seconds.
LEAST_ANSWERS, LEAST_S = 48, 0.2
#: Fewer calls than this are not tried: a pause of our own would leave the server without work.
LEAST_CALLS = 8
#: Seconds until a settled search looks again whether more calls would now be faster; at least
#: ten times as long as it has searched.
AGAIN_S, AGAIN_FACTOR = 60.0, 10.0


class Level(Record, frozen=True, kw_only=True):
    """What was measured with so many calls in flight."""

    calls: int
    per_second: float
    latency_s: float


class KneeSearch:
    """Finds the knee of one server.

    A level is measured only with answers to calls that were sent at it, after one whole turnover
    of them, and only while more work waits than may leave.

    Args:
        start: Calls in flight to begin with.
        most: Never more than this.
    """

    def __init__(self, start: int, most: int) -> None:
        self.calls, self.most = min(start, most), most
        #: What was measured since the search (re)started.
        self.tried: list[Level] = []
        self._downwards = False
        self.settled_at: float | None = None
        self._again_s = AGAIN_S
        self._started: float | None = None
        self._begin(0.0)

    def _begin(self, now: float) -> None:
        self._since = now
        self._warming = self.calls
        self._answers, self._latency = 0, 0.0
        self._from = now

    def refused(self, now: float) -> None:
        """The server has said that this is too much: what is in flight is the most for now."""
        self.settled_at = now

    def answered(self, now: float, sent_at: float, waiting: bool) -> bool:
        """Take in an answer; whether the search has just settled.

        Args:
            now: Seconds, monotonic.
            sent_at: When its call left.
            waiting: Whether more work waited than could leave; else nothing can be learned.
        """
        if self.settled_at is not None:
            if now - self.settled_at >= self._again_s:
                self._look_again(now)
            return False
        if not waiting:
            self._begin(now)
            return False
        self._started = now if self._started is None else self._started
        return sent_at >= self._since and self._count(now, now - sent_at)

    def _look_again(self, now: float) -> None:
        """Search anew, from where the server was at ease."""
        self.settled_at, self.tried, self._downwards = None, [], False
        self._started = None
        self._go_on(max(LEAST_CALLS, self.calls // 2), now)

    def _go_on(self, calls: int, now: float) -> None:
        self.calls = calls
        self._begin(now)

    def _count(self, now: float, latency: float) -> bool:
        if self._warming > 0:
            self._warming -= 1
            self._from = now
            return False
        self._answers += 1
        self._latency += latency
        enough = self._answers >= max(self.calls, LEAST_ANSWERS)
        if not enough or now - self._from < LEAST_S:
            return False
        return self._end_level(now)

    def _end_level(self, now: float) -> bool:
        latency_s = max(self._latency / self._answers, 1e-6)
        # by Little's law again: answers that are counted by the clock come in bursts and mislead
        level = Level(calls=self.calls, per_second=self.calls / latency_s, latency_s=latency_s)
        best = max((one.per_second for one in self.tried), default=0.0)
        self.tried.append(level)
        if self._downwards:
            self._after_halving(now, level, best)
        elif level.per_second >= WORTH_IT * best:
            self._after_gain(now, level)
        else:
            self._after_no_gain(now)
        return self.settled_at is not None

    def _after_gain(self, now: float, level: Level) -> None:
        if level.calls < self.most:
            self._go_on(min(2 * level.calls, self.most), now)
        else:
            self._settle(now)

    def _after_no_gain(self, now: float) -> None:
        began_at = self.tried[0].calls
        if len(self.tried) == 2 and began_at > LEAST_CALLS:  # it began at the knee, or beyond
            self._downwards = True
            self._go_on(began_at // 2, now)
        else:
            self._settle(now)

    def _after_halving(self, now: float, level: Level, best: float) -> None:
        if WORTH_IT * level.per_second >= best and level.calls > LEAST_CALLS:
            self._go_on(level.calls // 2, now)
        else:
            self._settle(now)

    def _settle(self, now: float) -> None:
        best = max(level.per_second for level in self.tried)
        at_ease = min(level.latency_s for level in self.tried)
        tried = [level.calls for level in self.tried]
        self.calls = max(min(tried), min(max(tried), round(HEADROOM * best * at_ease)))
        self.settled_at = now
        searched_s = now - (now if self._started is None else self._started)
        self._again_s = max(AGAIN_S, AGAIN_FACTOR * searched_s)

    def report(self) -> str:
        """What was found, in a sentence."""
        tried = ", ".join(f"{one.calls}: {one.per_second:,.0f}/s" for one in self.tried)
        return f"{self.calls} requests in flight from here on (answers at {tried})"
