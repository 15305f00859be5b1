"""The size of a log before and after the filters, and what the filters did."""

from dataclasses import asdict, dataclass

from tfrec_attn.data.sequences.copies import copies_sentence
from tfrec_attn.data.sequences.event_filters import EventFilterReport
from tfrec_attn.data.sequences.ids import IdReport


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
        return f"{self.events} events of {self.users} users with {self.items} items (density {self.density:.4%})"


@dataclass(frozen=True)
class FilterReport:
    """What the frequency filter left of a log, and the side conditions before it where there are
    any.

    Attributes:
        before: Size before the frequency filter.
        after: Size after it.
        min_user_events: Of the filter.
        min_item_events: Of the filter.
        selection: What the side conditions did.
        duplicates: Events after the filter that are exact copies of another; None where that cannot
            be told.
        ids: What there is to say of the ids before the filter; None where nobody looked.
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
        """What asks for attention, and the keys that change it."""
        copies = [copies_sentence(self.duplicates, self.after.events)] if self.duplicates else []
        return copies + ([] if self.ids is None else self.ids.sentences())

    def __str__(self) -> str:
        rule = f"users with {self.min_user_events} and items with {self.min_item_events} events or more"
        chosen = "" if self.selection is None else f"{self.selection}.\n"
        return "\n".join(
            [
                f"{chosen}{self.before}; {rule}: {self.after}",
                *(f"Note: {one}." for one in self.sentences()),
            ]
        )
