"""The size of a log before and after the filters, and what the filters did."""

from dataclasses import asdict, dataclass

from tfrec_attn.data.sequences.copies import copies_sentence
from tfrec_attn.data.sequences.event_filters import EventFilterReport
from tfrec_attn.data.sequences.ids import IdReport
from tfrec_attn.errors import counted


@dataclass(frozen=True)
class Statistics:
    """Size of a log; density is events / (users × items)."""

    events: int
    users: int
    items: int

    @property
    def density(self) -> float:
        return self.events / max(1, self.users * self.items)

    def to_dict(self) -> dict[str, float]:
        return {**asdict(self), "density": self.density}

    def __str__(self) -> str:
        events, users, items = (
            counted(number, noun, form="")
            for number, noun in ((self.events, "event"), (self.users, "user"), (self.items, "item"))
        )
        return f"{events} of {users} with {items} (density {self.density:.4%})"


@dataclass(frozen=True)
class FilterReport:
    """What the event filters and the frequency filter left of a log.

    Attributes:
        before: Size before the frequency filter.
        after: Size after the frequency filter.
        min_user_events: Fewest events of a user that stays.
        min_item_events: Fewest events of an item that stays.
        selection: Report of the event filters, or None (default) if there are none.
        duplicates: Number of events after the filter that are exact copies of another event, or
            None (default) if the log has no times.
        ids: Problems with the ids before the filter, or None (default) if they were not checked.
    """

    before: Statistics
    after: Statistics
    min_user_events: int
    min_item_events: int
    selection: EventFilterReport | None = None
    duplicates: int | None = None
    ids: IdReport | None = None

    def to_dict(self) -> dict[str, object]:
        tree = {**asdict(self), "before": self.before.to_dict(), "after": self.after.to_dict()}
        tree["selection"] = None if self.selection is None else self.selection.to_dict()
        tree["ids"] = self.ids.to_dict() if self.ids is not None and self.ids.sentences() else None
        return {key: value for key, value in tree.items() if value is not None}

    def sentences(self) -> list[str]:
        """Returns notes about lost events, copies and ids, with the keys that change them."""
        notes = []
        if self.after.events < self.before.events / 2:
            notes.append(
                f"{1 - self.after.events / self.before.events:.1%} of the events are of users with "
                f"fewer events than data.min_user_events={self.min_user_events}, or of items with "
                f"fewer than data.min_item_events={self.min_item_events}; lower them to keep more"
            )
        if self.duplicates:
            notes.append(copies_sentence(self.duplicates, self.after.events))
        return notes + ([] if self.ids is None else self.ids.sentences())

    def __str__(self) -> str:
        filters = "" if self.selection is None else f"{self.selection}.\n"
        size = (
            f"{filters}{self.before}; users with at least {self.min_user_events} and items with at "
            f"least {self.min_item_events} events: {self.after}"
        )
        return "\n".join([size, *(f"Note: {one}." for one in self.sentences())])
