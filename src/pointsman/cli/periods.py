"""Moments as people write them on a command line: the same as the reports' API understands."""

from pointsman.reports.periods import FORMS, moment

__all__ = ["FORMS", "moment"]
