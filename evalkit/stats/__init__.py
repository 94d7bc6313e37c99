"""Pure functions of arrays: errors, intervals, tests."""
