"""What was found, as Markdown and JSON; written anew after every job, so that a run can be cut off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.gpu.job import CHECK, Entry
from touchstone.files import write_bytes, write_json

ORDER = (CHECK, "longest", "attacks", "training", "seeds", "graphs and compiler")


def write(out: Path, heading: str, facts: Mapping[str, str], entries: Sequence[Entry]) -> None:
    """Write report.md and a JSON file per part, each whole or not at all."""
    for part in dict.fromkeys(entry.part for entry in entries):
        rows = [{**entry._asdict(), "seconds": round(entry.seconds, 2)} for entry in entries if entry.part == part]
        write_json(out / f"{part.replace(' ', '-')}.json", {"machine": dict(facts), "jobs": rows})
    write_bytes(out / "report.md", report(heading, facts, entries).encode())


def report(heading: str, facts: Mapping[str, str], entries: Sequence[Entry]) -> str:
    """Return the report of what is done so far."""
    lines = [f"# {heading}", "", *(f"- {name}: {value}" for name, value in facts.items()), "", summary(entries), ""]
    for part in ORDER:
        some = [entry for entry in entries if entry.part == part]
        if some:
            lines += [f"## {part[0].upper()}{part[1:]}", "", *(table(some) if part == CHECK else sections(some))]
    return "\n".join(lines).rstrip() + "\n"


def summary(entries: Sequence[Entry]) -> str:
    """Say how much of what was found."""
    counts = {status: sum(entry.status == status for entry in entries) for status in ("ok", "failed", "skipped")}
    spent = sum(entry.seconds for entry in entries)
    left_out = sum(entry.status == "not run" for entry in entries)
    said = ", ".join(f"{count} {status}" for status, count in counts.items())
    return f"{said}, {left_out} not run for want of time; {spent:.0f} s."


def table(entries: Sequence[Entry]) -> list[str]:
    """Return a row per check, those that went wrong first."""
    rows = sorted(entries, key=lambda entry: entry.status != "failed")
    lines = ["| check | | s | what |", "|---|---|---|---|"]
    for entry in rows:
        said = entry.text.replace("\n", "<br>").replace("|", "\\|")
        lines.append(f"| {entry.name} | {shown(entry)} | {entry.seconds:.1f} | {said} |")
    return [*lines, ""]


def sections(entries: Sequence[Entry]) -> list[str]:
    """Return a section per measurement."""
    lines = []
    for entry in entries:
        note = "" if entry.status == "ok" else f"{shown(entry)}: "
        lines += [f"### {entry.name}", "", f"{note}{entry.text}", ""]
    return lines


def shown(entry: Entry) -> str:
    """Return the status so that a failure is seen."""
    return "**FAILED**" if entry.status == "failed" else entry.status
