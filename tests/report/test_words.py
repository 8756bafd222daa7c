"""The words of a report: verdicts at their boundaries, numbers and durations."""

import pytest

from studio.evaluate.verdict import format_probe, judge, judge_distance, summarise
from studio.report.words import format_duration, format_number


def row(
    salient: float | None,
    common: float | None,
    belongs: str = "salient",
    metric: str = "balanced_accuracy",
    chance: float = 0.1,
    error: float = 0.01,
    attribute: str = "digit",
    note: str = "",
) -> dict:
    return {
        "attribute": attribute,
        "belongs": belongs,
        "metric": metric,
        "salient": salient,
        "common": common,
        "whole": salient,
        "chance": chance,
        "error": error,
        "n": 100,
        "also": {"note": note} if note else {},
    }


@pytest.mark.parametrize(
    ("given", "kind", "sentence"),
    [
        (
            row(0.93, 0.41),
            "leaks",
            "digit can be predicted from the salient code (93 %, chance 10 %). It leaks into the "
            "common code (41 %).",
        ),
        (
            row(0.93, 0.12),
            "separated",
            "digit can be predicted from the salient code (93 %, chance 10 %) and not from the "
            "common code (12 %).",
        ),
        (
            row(0.93, 0.121),
            "nearly separated",
            "digit can be predicted from the salient code (93 %, chance 10 %). It leaks slightly "
            "into the common code (12 %).",
        ),
        (
            row(0.93, 0.183),
            "nearly separated",
            "digit can be predicted from the salient code (93 %, chance 10 %). It leaks slightly "
            "into the common code (18 %).",
        ),
        (
            row(0.93, 0.184),
            "leaks",
            "digit can be predicted from the salient code (93 %, chance 10 %). It leaks into the "
            "common code (18 %).",
        ),
        (
            row(0.50, 0.479),
            "leaks",
            "digit can be predicted from the salient code (50 %, chance 10 %). It leaks into the "
            "common code (48 %).",
        ),
        (
            row(0.50, 0.481),
            "not separated",
            "digit can be predicted from the salient code (50 %, chance 10 %) and equally well "
            "from the common code (48 %).",
        ),
        (
            row(0.50, 0.519),
            "not separated",
            "digit can be predicted from the salient code (50 %, chance 10 %) and equally well "
            "from the common code (52 %).",
        ),
        (
            row(0.50, 0.521),
            "wrong code",
            "digit can be predicted from the salient code (50 %, chance 10 %), but better from "
            "the common code (52 %).",
        ),
        (
            row(0.12, 0.50),
            "wrong code",
            "digit belongs in the salient code but cannot be predicted from it (12 %, chance 10 "
            "%). It can be predicted from the common code (50 %).",
        ),
        (
            row(0.12, 0.12),
            "in neither code",
            "digit can be predicted from neither code (salient 12 %, common 12 %, chance 10 %).",
        ),
        (
            row(0.26, 0.58, "common", chance=0.25, attribute="texture"),
            "separated",
            "texture can be predicted from the common code (58 %, chance 25 %) and not from the "
            "salient code (26 %).",
        ),
        (
            row(0.72, 0.59, chance=0.5, attribute="target"),
            "leaks",
            "The set that an image belongs to (target) can be predicted from the salient code "
            "(72 %, chance 50 %). It leaks into the common code (59 %).",
        ),
        (
            row(0.62, 0.31, metric="r2", chance=0.0, attribute="age"),
            "leaks",
            "age can be predicted from the salient code (R2 0.62, chance R2 0.00). It leaks into "
            "the common code (R2 0.31).",
        ),
        (
            row(-0.2, -0.1, metric="r2", chance=0.0, attribute="age"),
            "in neither code",
            "age can be predicted from neither code (salient R2 -0.20, common R2 -0.10, chance "
            "R2 0.00).",
        ),
        (
            row(0.83, 0.5, metric="auc", chance=0.5, attribute="target"),
            "separated",
            "The set that an image belongs to (target) can be predicted from the salient code "
            "(AUC 0.83, chance AUC 0.50) and not from the common code (AUC 0.50).",
        ),
        (
            row(0.998, 1.0, chance=0.5, error=0.0005, attribute="target"),
            "wrong code",
            "The set that an image belongs to (target) can be predicted from the salient code "
            "(99.8 %, chance 50.0 %), but better from the common code (100.0 %).",
        ),
        (
            row(0.104, 0.1005, error=0.001),
            "separated",
            "digit can be predicted from the salient code (10.4 %, chance 10.0 %) and not from "
            "the common code (10.1 %).",
        ),
        (
            row(0.904, 0.9035, error=0.001),
            "not separated",
            "digit can be predicted from the salient code (90 %, chance 10 %) and equally well "
            "from the common code (90 %).",
        ),
        (
            row(None, None, note="not probed: unknown on every test image"),
            "not probed",
            "digit: not probed: unknown on every test image.",
        ),
    ],
)
def test_judge_compares_codes_by_two_standard_errors(given: dict, kind: str, sentence: str) -> None:
    assert judge(given) == (kind, sentence)


def test_judge_distance_states_the_share_of_pairs() -> None:
    assert judge_distance(0.99551).sentence.startswith(
        "The salient code of a target image lies farther from the blank code than that of a "
        "background image in 99.6 % of pairs (chance 50 %)."
    )


def test_summarise_counts_right_codes_and_leaks() -> None:
    clean, leaking, wrong, unknown = (
        row(0.9, 0.1),
        row(0.9, 0.5),
        row(0.1, 0.9),
        row(None, None, note="x"),
    )
    assert summarise([clean, leaking, wrong, unknown]) == (
        "2 of 3 attributes are predicted best from the codes where they belong. 1 of them leaks "
        "into the other code."
    )
    assert (
        summarise([clean])
        == "1 of 1 attribute is predicted best from the code where it belongs, and none leaks."
    )
    assert summarise([row(0.9, 0.13)]).endswith(", and none leaks more than slightly.")
    assert summarise([leaking, leaking]).endswith(". 2 of them leak into the other code.")
    assert (
        summarise([wrong]) == "0 of 1 attribute is predicted best from the code where it belongs."
    )
    assert summarise([unknown]) == "No attribute could be probed."


def test_formats_of_numbers_durations_and_probes() -> None:
    assert [
        format_number(v)
        for v in (None, True, 12_345, 0.123456, {"fid": 1.5, "n": 2}, [1, "a"], "x")
    ] == [
        "-",
        "yes",
        "12,345",
        "0.1235",
        "fid 1.5, n 2",
        "1, a",
        "x",
    ]
    assert [format_duration(s) for s in (0.4, 59.4, 59.6, 3599, 3600, 13_800)] == [
        "0 s",
        "59 s",
        "1 min 0 s",
        "59 min 59 s",
        "1 h 0 min",
        "3 h 50 min",
    ]
    assert [format_probe(0.456, m) for m in ("balanced_accuracy", "accuracy", "r2", "auc")] == [
        "46 %",
        "46 %",
        "R2 0.46",
        "AUC 0.46",
    ]


def test_format_probe_writes_no_negative_zero() -> None:
    assert format_probe(-0.004, "r2") == format_probe(0.004, "r2") == "R2 0.00"
    assert format_probe(-0.006, "r2") == "R2 -0.01"
