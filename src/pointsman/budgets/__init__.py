"""Budgets: hold before, settle after, on however many workers."""
