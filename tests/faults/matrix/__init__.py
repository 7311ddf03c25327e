"""The fault matrix: every failure, in every mode, with its one right answer.

`python -m matrix` (see `make faults`) prints the table; tests/faults/test_matrix.py holds us to it.
"""
