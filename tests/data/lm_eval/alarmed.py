"""A scorer that limits its time by an alarm, and calls different what it could not compare."""

import signal
from fractions import Fraction


class limit:
    def __init__(self, seconds):
        self.seconds = seconds

    def __enter__(self):
        signal.signal(signal.SIGALRM, self.stop)
        signal.alarm(self.seconds)

    def __exit__(self, *_):
        signal.alarm(0)

    def stop(self, *_):
        raise TimeoutError


def equal(one, other):
    try:
        with limit(5):
            return Fraction(one) == Fraction(other)
    except Exception:
        return False


def process_results(doc, results):
    return {"equal": int(equal(results[0], "4/2"))}
