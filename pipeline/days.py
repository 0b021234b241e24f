"""Days of the log, UTC."""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass

from pipeline.errors import InputError

SECONDS_OF_A_DAY = 86_400
#: The day of records that are not partitioned by day.
NO_DAY = -1


@dataclass(frozen=True)
class DateRange:
    """Days from `first` to `last`, both included, as days since 1970."""

    first: int
    last: int

    @classmethod
    def parse(cls, text: str) -> DateRange:
        """Reads `2024-03-01:2024-03-15`, or one day.

        Raises:
            InputError: it is neither, or ends before it begins.
        """
        match = re.fullmatch(r"(\d{4}-\d\d-\d\d)(?::(\d{4}-\d\d-\d\d))?", text)
        try:
            first, last = match.groups() if match else ("", None)
            found = cls(_day_number(first), _day_number(last or first))
        except ValueError:
            raise InputError(
                f"--date-range {text}: must be FIRST:LAST such as 2024-03-01:2024-03-15, or one day"
            ) from None
        if found.last < found.first:
            raise InputError(f"--date-range {text}: ends before it begins; give the earlier day first")
        return found

    def __str__(self) -> str:
        return f"{day_name(self.first)}:{day_name(self.last)}"

    def __contains__(self, day: str) -> bool:
        return day_name(self.first) <= day <= day_name(self.last)

    @property
    def start(self) -> int:
        """Its first second."""
        return self.first * SECONDS_OF_A_DAY

    @property
    def end(self) -> int:
        """The first second after it."""
        return (self.last + 1) * SECONDS_OF_A_DAY


def day_name(day: int) -> str:
    """`2024-03-01` for days since 1970; `all` for records that are not partitioned."""
    return "all" if day == NO_DAY else (datetime.date(1970, 1, 1) + datetime.timedelta(days=day)).isoformat()


def _day_number(text: str) -> int:
    return (datetime.date.fromisoformat(text) - datetime.date(1970, 1, 1)).days
