"""The validation report as text: warnings, and sections of labelled figures."""

import datetime

from tfrec_attn.data.reading.time_rule import UNITS
from tfrec_attn.data.sequences.copies import copies_sentence
from tfrec_attn.data.sequences.ids import IdReport
from tfrec_attn.errors import counted

# A figure above its threshold gives a warning at the top of the report.
_DUPLICATES, _BURST, _TIES, _UNKNOWN, _DRIFT = 0.001, 0.01, 0.1, 0.05, 0.25


def sections(tree: dict) -> list[tuple[str, list[tuple[str, str]]]]:
    """Returns the sections of a report: titles with (label, value) pairs."""
    found = [
        ("Log", _log(tree)),
        ("Events", _events(tree)),
        ("Users and items", _users_and_items(tree)),
    ]
    if "time" in tree:
        found.append(("Time", _time(tree)))
    if "leaks" in tree:
        found.append((f"Split {tree['split']}", _leaks(tree)))
    if "drift" in tree:
        found.append((f"Drift from {tree['drift']['against']}", _drift(tree["drift"])))
    if "request_log" in tree:
        found.append((f"Requests of {tree['request_log']['path']}", _requests(tree["request_log"])))
    if "schema" in tree:
        found.append(("Schema", _schema(tree["schema"])))
    return found


def findings(tree: dict) -> list[str]:
    """Returns the warnings of a report, one sentence each, anomalies first."""
    anomalies = tree.get("schema", {}).get("anomalies", {})
    found = [f"{name}: {reason}" for name, reasons in anomalies.items() for reason in reasons]
    if tree.get("rejected", 0) > 0:
        found.append(f"{counted(tree['rejected'], 'line')} could not be read.")
    found += _warnings_of_times(tree) if "time" in tree else []
    copies = tree.get("duplicates", {"count": 0, "share": 0})
    if copies["share"] > _DUPLICATES:
        found.append(f"{copies_sentence(copies['count'], tree['events'])}.")
    if "ids" in tree:
        found += [f"{one}." for one in IdReport.from_dict(tree["ids"]).sentences()]
    for name, figures in tree.get("drift", {}).items():
        if name != "against" and figures["psi"] > _DRIFT:
            psi = f"{figures['psi']:.3f}"
            found.append(f"The {_words(name)} has changed: PSI {psi} is above {_DRIFT}.")
    unknown = tree.get("request_log", {}).get("unknown_items", {"share": 0})
    if unknown["share"] > _UNKNOWN:
        found.append(f"{_part(unknown)} of the items in requests are unknown.")
    return found


def _warnings_of_times(tree: dict) -> list[str]:
    time, ties, found = tree["time"], tree["ties"], []
    if time["future"] > 0:
        found.append(f"{counted(time['future'], 'event is', 'events are')} in the future.")
    if ties["share"] > _TIES:
        found.append(
            f"{_part(ties)} of the events share their time with the one before: "
            "the file decides their order."
        )
    for name, burst in tree["bursts"].items():
        if burst["share"] > _BURST:
            size = f"bursts of {burst['events_at_least']} within a {name}"
            found.append(f"{_part(burst)} of the events are in {size}.")
    return found


def as_text(tree: dict) -> str:
    """Returns the whole report."""
    blocks = ["\n".join(f"! {sentence}" for sentence in findings(tree)) or "No warnings."]
    for title, rows in sections(tree):
        width = max(len(label) for label, _ in rows)
        blocks.append(
            "\n".join([title, *(f"  {label.ljust(width)}  {value}" for label, value in rows)])
        )
    if "tfdv" in tree:
        blocks.append(tree["tfdv"])
    return "\n\n".join(blocks)


def moment(time: float, unit: str | None) -> str:
    """Returns a time as a date in UTC, or as a number if it has no known unit or no such date."""
    try:
        seconds = datetime.timedelta(seconds=time / UNITS[unit][0])
        return f"{datetime.datetime(1970, 1, 1) + seconds:%Y-%m-%d %H:%M:%S}"
    except (KeyError, OverflowError):
        return f"{time:.15g}"


def _log(tree: dict) -> list:
    rows = [("source", tree["source"])]
    rows += [(name, f"{tree[name]:,}") for name in ("events", "users", "items", "rejected")]
    rows += [("event filters", tree["selection"])] if "selection" in tree else []
    return rows


def _events(tree: dict) -> list:
    rows = [
        *([("exact copies", _part(tree["duplicates"]))] if "duplicates" in tree else []),
        ("repeated items of a user", _part(tree["repeats"])),
        ("the same item twice in a row", f"{tree['repeats']['immediate']:,}"),
    ]
    for name, one in tree.get("bursts", {}).items():
        who = ", ".join(f"{user} ({count:,})" for user, count in one["worst"].items())
        rows.append(
            (
                f"in bursts, {one['events_at_least']} a {name}",
                f"{_part(one)}, {counted(one['users'], 'user')}{': ' + who if who else ''}",
            )
        )
    return rows


def _users_and_items(tree: dict) -> list:
    rows = [(f"{name} that appear once", _part(tree["once"][name])) for name in ("users", "items")]
    for name, found in tree.get("ids", {}).items():
        rows.append((f"{name} written in several ways", f"{found['variants']:,}"))
        rows.append(
            (f"events with a missing id among {name}", f"{sum(found['missing'].values()):,}")
        )
    for key, label in (
        ("history_length", "events of a user"),
        ("item_events", "events of an item"),
    ):
        figures = tree[key].items()
        shown = (f"{name} {value:,.{1 if name == 'mean' else 0}f}" for name, value in figures)
        rows.append((label, ", ".join(shown)))
    curve = tree["profile"]["curve"]
    shares = ", ".join(f"{percent} %: {curve[percent]:.1%}" for percent in (1, 10, 50))
    return [*rows, ("events of the most popular items", shares)]


def _time(tree: dict) -> list:
    time, order = tree["time"], tree["order"]
    return [
        ("from", moment(time["first"], time["unit"])),
        ("to", moment(time["last"], time["unit"])),
        ("unit", time["unit"] or "not clear from the size of the times; taken as seconds"),
        ("in the future", f"{time['future']:,}"),
        ("tied with the event before", _part(tree["ties"])),
        ("after a later event of the user", _part(order["out_of_order"])),
        ("lines that go back in time", f"{order['lines_back_in_time']:,}"),
    ]


def _leaks(tree: dict) -> list:
    leaks = tree["leaks"]
    if isinstance(leaks, str):
        return [("not split", leaks)]
    return [
        ("test events before some training event", f"{leaks['tests_before_training']:.1%}"),
        (
            "training events after the median test event",
            f"{leaks['training_after_median_test']:.1%}",
        ),
        (
            "test events of items with later training events only",
            f"{leaks['targets_only_seen_later']:.1%}",
        ),
        ("events tied with the one before", f"{leaks['ties']:.1%}"),
    ]


def _drift(drift: dict) -> list:
    names = {
        "psi": "PSI",
        "jensen_shannon": "Jensen-Shannon",
        "kolmogorov_smirnov": "Kolmogorov-Smirnov",
    }
    return [
        (f"{_words(name)}: {names.get(key, _words(key))}", f"{value:.4f}")
        for name, figures in drift.items()
        if name != "against"
        for key, value in figures.items()
    ]


def _requests(log: dict) -> list:
    asked = (f"{name} ({count:,})" for name, count in log["most_asked"].items())
    rows = [
        ("requests", f"{log['requests']:,}"),
        ("items", f"{log['items']:,}"),
        ("unknown items", _part(log["unknown_items"])),
    ]
    rows += [("unknown users", _part(log["unknown_users"]))] if "unknown_users" in log else []
    rows.append(("requests without a known item", _part(log["nothing_known"])))
    return [*rows, ("asked most", ", ".join(asked) or "none unknown")]


def _schema(schema: dict) -> list:
    rows = [("schema", schema["path"])]
    rows += [] if schema["anomalies"] else [("anomalies", "none")]
    for name, reasons in schema["anomalies"].items():
        rows += [(name, reason) for reason in reasons]
    return rows


def _part(part: dict) -> str:
    return f"{part['count']:,} ({part['share']:.2%})"


def _words(name: str) -> str:
    return name.replace("_", " ")
