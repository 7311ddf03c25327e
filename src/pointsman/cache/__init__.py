"""Answers kept for the same question, within a tenant."""
