"""Values of a session: the tables `sub-01/sub-01_sessions.tsv` of a BIDS folder."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from studio.data.io.attribute_table import read_rows
from studio.data.io.names import is_missing, join_names, normalise_name
from studio.data.vbm.config import VbmConfig
from studio.data.vbm.participants import Participants
from studio.errors import StudioError
from studio.lfs import refuse_pointer

__all__ = ["Sessions", "merge_sessions"]

ID = "session_id"
SESSION = re.compile(r"(?:^|_)ses-([A-Za-z0-9]+)(?=_|$)")
Rows = dict[str, dict[str, str]]  # session, as in `_bare` -> column -> text


@dataclass
class Sessions:
    """Where the values of each volume are.

    Attributes:
        rows: volume -> its row in `Participants.rows`: its subject, or `subject ses-XX`.
        faults: (volume, reason) for each volume whose session has rows that differ.
        notes: facts that a user should know.
    """

    rows: dict[str, str] = field(default_factory=dict)
    faults: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def merge_sessions(
    root: Path,
    volumes: Mapping[str, str],
    spelled: Mapping[str, str],
    table: Participants,
    config: VbmConfig,
) -> Sessions:
    """Reads the tables of the sessions, and gives each session a row of its own in place.

    A value of the session counts before one of the subject. The set of a subject is decided by
    `participants.tsv` alone.

    Args:
        root: the folder.
        volumes: volume, relative to the root -> its subject as in `bare_id`.
        spelled: volume -> its subject as its path spells it.
        table: gets the columns of the sessions, and a row for each session with a volume.
        config: the data set's section.

    Raises:
        StudioError: a table is damaged or has no column `session_id`.
    """
    found = Sessions(dict(volumes), notes=[*_several_notes(volumes)])
    tables: dict[str, Rows] = {}
    twins: dict[str, dict[str, str]] = {}
    columns: list[str] = []
    for name, subject in volumes.items():
        if subject not in tables:
            path = root / spelled[name] / f"{spelled[name]}_sessions.tsv"
            names, tables[subject], twins[subject] = _read(path)
            columns += [column for column in names if column not in columns]
    if not any(tables.values()) and not any(twins.values()):
        found.notes += _other_notes(root)
        return found
    ignored = [config.column] if config.column in columns else []
    columns = [column for column in columns if column not in ignored]
    both = [column for column in columns if column in table.columns]
    table.of_sessions = [column for column in columns if column not in both]
    table.columns += table.of_sessions
    for row in table.rows.values():
        row.update({column: row.get(column, "") for column in columns})
    without, read = [], 0
    for name, subject in volumes.items():
        session = _session(name)
        if session in twins[subject]:
            found.faults.append((name, twins[subject][session]))
            continue
        if session not in tables[subject]:
            without += [name] if tables[subject] else []
            continue
        values = {c: v for c, v in tables[subject][session].items() if v and c not in ignored}
        found.rows[name] = f"{subject} ses-{session}"
        table.rows[found.rows[name]] = {**table.rows[subject], **values}
        read += 1
    files = sum(map(bool, tables.values()))
    found.notes.append(
        f"{files} tables sub-XX_sessions.tsv give {read} volumes the values of their session: "
        f"{join_names(columns) or 'no column'}"
    )
    found.notes += _use_notes(both, ignored, without, config)
    found.notes += _other_notes(root)
    return found


def _use_notes(
    both: list[str], ignored: list[str], without: list[str], config: VbmConfig
) -> Iterator[str]:
    """Yields which values of sessions count before others, and which do not count."""
    if both:
        yield (
            f"{join_names(both)}: in {config.participants} as well, the value of the session counts"
        )
    if ignored:
        yield (
            f"sub-XX_sessions.tsv: {config.column} is not read, because {config.participants} "
            "decides the set of a subject"
        )
    if without:
        yield (
            f"{len(without)} volumes have no row in their sub-XX_sessions.tsv and take the values "
            f"of their subject: {join_names(without)}"
        )


def _several_notes(volumes: Mapping[str, str]) -> Iterator[str]:
    """Yields how many sessions have several volumes, which may be several maps of one scan."""
    groups: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name, subject in volumes.items():
        groups[subject, _session(name)].append(name)
    several = [names for names in groups.values() if len(names) > 1]
    if several:
        yield (
            f"{len(several)} subjects or sessions have several volumes, such as "
            f"{join_names(several[0])}; each is an item (data.files, data.exclude pick others)"
        )


def _other_notes(root: Path) -> Iterator[str]:
    """Yields a note on tables of BIDS that are not read."""
    tables = sorted(path.name for path in (root / "phenotype").glob("*.tsv"))
    if tables:
        yield (
            f"the tables in phenotype are not read ({join_names(tables)}): copy their columns to "
            "participants.tsv or sub-XX_sessions.tsv"
        )


def _session(name: str) -> str:
    """Returns the session in the name of a file, or of a folder around it, as in `_bare`, or ""."""
    for part in reversed(PurePosixPath(name).parts):
        if match := SESSION.search(part.removesuffix(".gz").removesuffix(".nii")):
            return match[1].casefold()
    return ""


def _bare(session: str) -> str:
    return session.strip().casefold().removeprefix("ses-")


def _read(path: Path) -> tuple[list[str], Rows, dict[str, str]]:
    """Reads the table of a subject.

    Returns:
        Its columns, its rows, and session -> reason for each session with rows that differ. All
        are empty if there is no table.
    """
    if not path.is_file():
        return [], {}, {}
    refuse_pointer(path)
    names, lines = read_rows(path, (ID,))
    columns = [name for name in names if name != ID]
    groups: dict[str, list[dict[str, str]]] = defaultdict(list)
    for line, cells in lines:
        if is_missing(cells[ID]):
            raise StudioError(f"{path}: line {line} has no {ID}")
        row = {c: "" if is_missing(cells[c]) else normalise_name(cells[c]) for c in columns}
        groups[_bare(cells[ID])].append(row)
    twins = {}
    for session, rows in groups.items():
        differ = [column for column in columns if len({row[column] for row in rows}) > 1]
        if differ:
            twins[session] = (
                f"is of ses-{session}, which has {len(rows)} rows that differ in "
                f"{join_names(differ)} in {path.name}"
            )
    return columns, {s: rows[0] for s, rows in groups.items() if s not in twins}, twins
