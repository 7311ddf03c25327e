"""A deterministic simulation of both stacks: one seed, one sequence of events, always the same.

Theory. Failures hide in orders of events that nobody thought of: a client that leaves in the very
turn in which its probe succeeds, a deadline beside a first content. So the real layers run here,
from Account down to Upstream and the dialect, on a loop, a clock and a network of our own: no
socket, no thread, no real time. A seed draws a small world (deployments, limits, settings), what
its providers do, what its clients do, and at each moment which of the things that may happen now
happens first. Times come from a coarse grid, so that many things happen at once. After every
step laws are checked (laws.py); at the end everything must have been given back, and when the
providers heal, every deployment must be found well again. After FoundationDB's simulation and
TigerBeetle's VOPR.
"""
