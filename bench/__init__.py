"""Pointsman against a bare pass-through on one machine; see README.md."""
