"""Suites by which anyone can check a gateway, ours or another: what usage is read and charged."""
