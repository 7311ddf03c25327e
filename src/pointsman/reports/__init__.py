"""What was used and spent: reports for those who pay.

    with closing(Store.of("pointsman.db", SystemClock()).open()) as ledger:
        for line in report(ledger, Question.of("north", ["team", "model"], since=...)):
            print(line.group, line.cost_nano)

Blocks: on a thread of its own, never on an event loop. The same figures come from
`pointsman report` and from the admin API.
"""

from pointsman.reports.question import EVERYONE, Question
from pointsman.reports.report import Line, report, total
from pointsman.reports.rollup import catch_up

__all__ = ["EVERYONE", "Line", "Question", "catch_up", "report", "total"]
