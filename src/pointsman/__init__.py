"""Pointsman: an LLM router that decides, falls back, accounts and explains."""
