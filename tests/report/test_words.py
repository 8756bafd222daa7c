"""The report's words: verdicts at their boundaries, numbers and times."""

import pytest

from studio.report.words import distance, number, read_out, span, summary, verdict


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
            "digit is read from salient at 93 %, chance 10 %; it leaks into common at 41 %.",
        ),
        (
            row(0.93, 0.12),
            "clean",
            "digit is read from salient at 93 %, chance 10 %; common tells nothing of it (12 %).",
        ),
        (
            row(0.93, 0.121),
            "nearly clean",
            "digit is read from salient at 93 %, chance 10 %; a trace of it is in common (12 %).",
        ),
        (
            row(0.93, 0.183),
            "nearly clean",
            "digit is read from salient at 93 %, chance 10 %; a trace of it is in common (18 %).",
        ),
        (
            row(0.93, 0.184),
            "leaks",
            "digit is read from salient at 93 %, chance 10 %; it leaks into common at 18 %.",
        ),
        (
            row(0.50, 0.479),
            "leaks",
            "digit is read from salient at 50 %, chance 10 %; it leaks into common at 48 %.",
        ),
        (
            row(0.50, 0.481),
            "not separated",
            "digit is read from salient at 50 %, chance 10 %; common tells as much (48 %).",
        ),
        (
            row(0.50, 0.519),
            "not separated",
            "digit is read from salient at 50 %, chance 10 %; common tells as much (52 %).",
        ),
        (
            row(0.50, 0.521),
            "wrong place",
            "digit is read from salient at 50 %, chance 10 %; common tells more of it (52 %).",
        ),
        (
            row(0.12, 0.50),
            "wrong place",
            "digit belongs in salient, which tells nothing of it (12 %, chance 10 %); it is read from common at 50 %.",
        ),
        (
            row(0.12, 0.12),
            "in neither",
            "digit is read from neither code (salient 12 %, common 12 %, chance 10 %).",
        ),
        (
            row(0.26, 0.58, "common", chance=0.25, attribute="texture"),
            "clean",
            "texture is read from common at 58 %, chance 25 %; salient tells nothing of it (26 %).",
        ),
        (
            row(0.72, 0.59, chance=0.5, attribute="target"),
            "leaks",
            "Which set an image is from (target) is read from salient at 72 %, chance 50 %; it leaks into common at 59 %.",
        ),
        (
            row(0.62, 0.31, metric="r2", chance=0.0, attribute="age"),
            "leaks",
            "age is read from salient with R2 0.62, chance R2 0.00; it leaks into common with R2 0.31.",
        ),
        (
            row(-0.2, -0.1, metric="r2", chance=0.0, attribute="age"),
            "in neither",
            "age is read from neither code (salient R2 -0.20, common R2 -0.10, chance R2 0.00).",
        ),
        (
            row(0.83, 0.5, metric="auc", chance=0.5, attribute="target"),
            "clean",
            "Which set an image is from (target) is read from salient with AUC 0.83, chance AUC 0.50; common tells nothing of it "
            "(AUC 0.50).",
        ),
        (
            row(0.998, 1.0, chance=0.5, error=0.0005, attribute="target"),
            "wrong place",
            "Which set an image is from (target) is read from salient at 99.8 %, chance 50.0 %; common tells more of it "
            "(100.0 %).",
        ),
        (
            row(0.104, 0.1005, error=0.001),
            "clean",
            "digit is read from salient at 10.4 %, chance 10.0 %; common tells nothing of it (10.1 %).",
        ),
        (
            row(0.904, 0.9035, error=0.001),
            "not separated",
            "digit is read from salient at 90 %, chance 10 %; common tells as much (90 %).",
        ),
        (
            row(None, None, note="not probed: unknown on every test image"),
            "not probed",
            "digit: not probed: unknown on every test image.",
        ),
    ],
)
def test_verdicts_follow_where_an_attribute_belongs_and_twice_the_standard_error(
    given: dict, kind: str, sentence: str
) -> None:
    assert verdict(given) == (kind, sentence)


def test_what_no_linear_read_out_sees_is_said_beside_them() -> None:
    assert distance(0.99551).sentence.startswith(
        "A target image's salient code is farther from the blank one than a background image's in 99.6 % of pairs, chance 50 %"
    )


def test_the_summary_counts_what_is_right_and_what_leaks() -> None:
    clean, leaking, wrong, unknown = (
        row(0.9, 0.1),
        row(0.9, 0.5),
        row(0.1, 0.9),
        row(None, None, note="x"),
    )
    assert summary([clean, leaking, wrong, unknown]) == (
        "2 of 3 attributes are read best from the code where they belong; 1 of them leaks into the other code."
    )
    assert (
        summary([clean])
        == "1 of 1 attribute is read best from the code where it belongs, and none leaks."
    )
    assert summary([leaking, leaking]).endswith("; 2 of them leak into the other code.")
    assert summary([wrong]) == "0 of 1 attribute is read best from the code where it belongs."
    assert summary([unknown]) == "No attribute could be probed."


def test_numbers_and_times_as_a_person_reads_them() -> None:
    assert [
        number(v) for v in (None, True, 12_345, 0.123456, {"fid": 1.5, "n": 2}, [1, "a"], "x")
    ] == [
        "-",
        "yes",
        "12,345",
        "0.1235",
        "fid 1.5, n 2",
        "1, a",
        "x",
    ]
    assert [span(s) for s in (0.4, 59.4, 59.6, 3599, 3600, 13_800)] == [
        "0 s",
        "59 s",
        "1 min 0 s",
        "59 min 59 s",
        "1 h 0 min",
        "3 h 50 min",
    ]
    assert [read_out(0.456, m) for m in ("balanced_accuracy", "accuracy", "r2", "auc")] == [
        "46 %",
        "46 %",
        "R2 0.46",
        "AUC 0.46",
    ]


def test_nothing_is_not_less_than_nothing() -> None:
    assert read_out(-0.004, "r2") == read_out(0.004, "r2") == "R2 0.00"
    assert read_out(-0.006, "r2") == "R2 -0.01"
