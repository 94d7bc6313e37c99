"""Speed, memory and parity measurements against peers; never part of the test suite."""
