"""`vbm`: values of the sessions of a subject, from sub-XX_sessions.tsv."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from support.bids_files import rows, scan, write_table

from studio.data.dataset import Attribute
from studio.data.vbm.dataset import Vbm, VbmConfig
from studio.errors import StudioError


def opened(root: Path, **fields: object) -> Vbm:
    plain = {"root": str(root), "target": "schizophrenia", "resolution": 32}
    return Vbm(VbmConfig(**{**plain, **fields}))


def values(dataset: Vbm, name: str) -> dict[str, float]:
    """Returns volume -> value of an attribute."""
    found = {}
    for split in ("train", "test"):
        for domain in ("background", "target"):
            labels = dataset.labels(split, domain)
            if name in labels:
                found |= dict(
                    zip(dataset.item_names(split, domain), labels[name].tolist(), strict=True)
                )
    return found


def write_sessions(root: Path, subject: str, table: Sequence[Mapping[str, str]]) -> None:
    """Writes sub-XX_sessions.tsv."""
    write_table(root / subject, table, name=f"{subject}_sessions.tsv")


@pytest.fixture
def visits(root: Path) -> Path:
    """Sixteen subjects with two sessions each, whose tables have the age. participants.tsv has
    none."""
    write_table(root, [{k: v for k, v in row.items() if k != "age"} for row in rows()])
    for i in range(16):
        subject = f"sub-{i:02}"
        once = scan(root, subject)
        for number in (1, 2):
            path = scan(root, subject, f"ses-{number}")
            path.parent.mkdir(parents=True)
            shutil.copy(once, path)
        shutil.rmtree(once.parent)
        ages = [{"session_id": f"ses-{k}", "age": f"{20 + i + k / 2}"} for k in (1, 2)]
        write_sessions(root, subject, ages)
    return root


def test_values_of_a_session_are_those_of_its_volumes(visits: Path) -> None:
    dataset = opened(visits)
    assert dataset.attributes["age"] == Attribute("common")
    found = values(dataset, "age")
    assert len(found) == 32
    for name, age in found.items():
        subject, session = name.split("/")[:2]
        assert age == 20 + int(subject[4:]) + int(session[4:]) / 2
    assert values(dataset, "site").keys() == found.keys()
    text = "\n".join(dataset.notes())
    assert "16 tables sub-XX_sessions.tsv give 32 volumes the values of their session: age" in text


def test_a_value_of_a_session_counts_before_that_of_the_subject(visits: Path) -> None:
    write_table(visits, rows())
    write_sessions(
        visits,
        "sub-03",
        [
            {"session_id": "1", "age": "71", "diagnosis": "schizophrenia"},
            {"session_id": "SES-2", "age": "n/a", "diagnosis": "schizophrenia"},
        ],
    )
    dataset = opened(visits)
    found = values(dataset, "age")
    assert found["sub-03/ses-1/anat/sub-03_ses-1_T1w.nii.gz"] == 71
    assert found["sub-03/ses-2/anat/sub-03_ses-2_T1w.nii.gz"] == 24.5  # of participants.tsv
    text = "\n".join(dataset.notes())
    assert "age: in participants.tsv as well, the value of the session counts" in text
    assert "diagnosis is not read, because participants.tsv decides the set of a subject" in text
    assert dataset.size("train", "target") + dataset.size("test", "target") == 16


def test_a_session_without_a_row_has_the_values_of_its_subject(visits: Path) -> None:
    write_sessions(visits, "sub-04", [{"session_id": "ses-1", "age": "33"}])
    dataset = opened(visits)
    name = "sub-04/ses-2/anat/sub-04_ses-2_T1w.nii.gz"
    found = values(dataset, "age")
    assert np.isnan(found[name])
    assert sum(map(np.isnan, found.values())) == 1
    words = "1 volumes have no row in their sub-XX_sessions.tsv and take the values of their"
    assert f"{words} subject: {name}" in "\n".join(dataset.notes())


def test_sessions_with_rows_that_differ_are_set_aside(visits: Path) -> None:
    twice = [{"session_id": "ses-1", "age": age} for age in ("40", "41")]
    write_sessions(visits, "sub-09", [*twice, {"session_id": "ses-2", "age": "40"}])
    dataset = opened(visits)
    assert dataset.quarantined == [
        (
            "sub-09/ses-1/anat/sub-09_ses-1_T1w.nii.gz",
            "is of ses-1, which has 2 rows that differ in age in sub-09_sessions.tsv",
        )
    ]


def test_text_in_a_column_of_numbers_of_sessions_names_the_table(visits: Path) -> None:
    for i in range(4):
        ages = [{"session_id": f"ses-{k}", "age": "old"} for k in (1, 2)]
        write_sessions(visits, f"sub-{i:02}", ages)
    with pytest.raises(StudioError, match=r"^sub-XX_sessions\.tsv: column age: 8 of 32 values"):
        opened(visits)


def test_a_table_of_sessions_without_its_column_is_refused(visits: Path) -> None:
    write_sessions(visits, "sub-09", [{"session": "ses-1", "age": "40"}])
    with pytest.raises(StudioError, match=r"sub-09_sessions\.tsv.*session_id"):
        opened(visits)


def test_a_subject_with_one_session_at_the_test_site_is_tested(visits: Path) -> None:
    sites = [{"session_id": "ses-1", "site": "Boston"}, {"session_id": "ses-2", "site": "Oslo"}]
    for subject in ("sub-02", "sub-10"):
        write_sessions(visits, subject, sites)
    dataset = opened(visits, test_site="Oslo")
    tested = {s for d in ("background", "target") for s in dataset.item_subjects("test", d)}
    assert tested == {"sub-02", "sub-10"}


def test_tables_in_phenotype_are_named(root: Path) -> None:
    (root / "phenotype").mkdir()
    (root / "phenotype" / "panss.tsv").write_text("participant_id\tpanss\nsub-01\t3\n")
    assert "the tables in phenotype are not read (panss.tsv)" in "\n".join(opened(root).notes())
