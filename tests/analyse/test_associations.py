"""Associations: planted ones are found after covariates, and nothing else; wrong covariates."""

import numpy as np
import pytest
from support.codes_of_subjects import plant, with_values

from studio.analyse.associations import associate
from studio.analyse.cohort import Cohort, prepare_covariates
from studio.analyse.permutation import adjust, orthonormal, permutation_p
from studio.analysis_config import AnalysisConfig
from studio.errors import StudioError


def settings(*covariates: str, **fields: object) -> AnalysisConfig:
    return AnalysisConfig(**{"permutations": 499, "covariates": [*covariates], **fields})


def best_q(records: list[dict], attribute: str, family: str = "salient") -> float:
    values = [r["q"] for r in records if r["attribute"] == attribute and r["family"] == family]
    return min(value for value in values if value is not None)


def test_severity_is_associated_and_the_confounder_is_not() -> None:
    cohort, kind = plant(150, 2)
    with_age = associate(cohort, kind, settings("age", "site", permutations=999))
    assert best_q(with_age, "severity") < 0.05
    assert best_q(with_age, "confounder") > 0.05
    assert best_q(with_age, "memory") > 0.05, "age explains it"
    assert best_q(with_age, "severity", "common") > 0.05
    hit = min((r for r in with_age if r["attribute"] == "severity"), key=lambda r: r["p"])
    assert hit["feature"] == "s_3"
    assert hit["low"] < hit["value"] < hit["high"]
    assert {r["attribute"] for r in with_age} == {"memory", "confounder", "severity", "kind"}
    without = associate(cohort, kind, settings(permutations=999))
    assert best_q(without, "memory") < 0.05, "without covariates age is seen through memory"


def test_subgroups_go_with_the_planted_kind() -> None:
    cohort, kind = plant(120, 4)
    records = associate(cohort, kind, settings("age", "site"))
    own = {r["attribute"]: r for r in records if r["feature"] == "subgroups"}
    assert own["kind"]["effect"] == "cramers_v"
    assert own["kind"]["value"] == pytest.approx(1, abs=0.01)
    assert own["kind"]["p_permutation"] == pytest.approx(1 / 500)
    assert own["severity"]["effect"] == "eta_squared"
    assert own["severity"]["p_permutation"] > 0.01


def test_effects_fit_the_kind_of_attribute() -> None:
    cohort, kind = plant(120, 6)
    cohort = with_values(cohort, two=(cohort.values["severity"] > 0).astype(int))
    records = associate(cohort, kind, settings("age"))
    effects = {r["attribute"]: r["effect"] for r in records if r["feature"] == "s_3"}
    assert effects["severity"] == "slope"
    assert effects["two"] == "odds_ratio"
    assert effects["kind"] == "eta_squared"


@pytest.mark.slow
def test_false_discoveries_are_as_rare_as_stated() -> None:
    """The attribute is shuffled: any discovery at q = 0.05 is false."""
    cohort, _ = plant(100, 8)
    table = np.column_stack([cohort.s, cohort.distance])
    rng, found = np.random.default_rng(9), 0
    ready = prepare_covariates(cohort, settings("age", "site"))
    basis = orthonormal(np.column_stack([np.ones(100), ready.columns]))
    for _ in range(100):
        shuffled = rng.permutation(cohort.values["severity"])[:, None]
        p = permutation_p(table, shuffled, basis, ready.blocks, 999, rng)
        found += bool((adjust(p) <= 0.05).any())
    assert 0 <= found / 100 <= 0.1


def reason(records: list[dict], attribute: str) -> str:
    (record,) = [r for r in records if r["attribute"] == attribute]
    assert record["p_permutation"] is None
    assert record["q"] is None
    return record["note"]


def test_constant_covariate_is_left_out_with_a_note() -> None:
    cohort, kind = plant(60, 0)
    cohort = with_values(cohort, sex=np.zeros(60, int) + 1)
    found = prepare_covariates(cohort, settings("age", "sex"))
    assert found.names == ["age"]
    assert found.notes == [
        "covariate sex has one value on all subjects that are tested and is left out"
    ]
    assert associate(cohort, kind, settings("sex"))


def test_covariate_that_most_subjects_lack_is_an_error() -> None:
    cohort, _ = plant(60, 0)
    age = cohort.values["age"].copy()
    age[:40] = np.nan
    with pytest.raises(StudioError, match="age is unknown for 40 of 60 held-out subjects"):
        prepare_covariates(with_values(cohort, age=age), settings("age"))
    age[10:40] = 0
    found = prepare_covariates(with_values(cohort, age=age), settings("age"))
    assert found.notes == ["10 of 60 subjects lack a covariate and are left out"]
    assert found.rows.sum() == 50


def test_sites_of_one_subject_give_no_p_value() -> None:
    cohort, kind = plant(40, 0)
    alone = with_values(cohort, site=np.arange(40))
    records = associate(alone, kind, settings("site"))
    for attribute in ("severity", "memory"):
        assert "0 subjects are left" in reason(records, attribute)
        assert "40 subjects are alone at their site" in reason(records, attribute)
    some = with_values(cohort, site=np.r_[np.zeros(38, int), 1, 2])
    found = prepare_covariates(some, settings("site"))
    assert found.rows.sum() == 38
    assert found.names == []


def test_attribute_that_follows_from_a_covariate_is_not_tested() -> None:
    cohort, kind = plant(60, 0)
    same = with_values(cohort, again=cohort.values["age"] * 3 + 1)
    assert "follows from the covariates" in reason(associate(same, kind, settings("age")), "again")


def test_attribute_without_values_is_named() -> None:
    cohort, kind = plant(60, 0)
    empty = with_values(cohort, lost=np.full(60, np.nan), rare=np.r_[np.zeros(57, int), 1, 1, 1])
    records = associate(empty, kind, settings())
    assert "fewer than two values" in reason(records, "lost")
    assert "1 classes with fewer than 5 subjects" in reason(records, "rare")


def test_fewer_subjects_than_parameters_give_no_p_value() -> None:
    cohort, kind = plant(14, 0)
    many = with_values(cohort, site=np.repeat(np.arange(7), 2))
    assert "14 subjects are left for 7 parameters" in reason(
        associate(many, kind, settings("site")), "severity"
    )


def test_constant_coordinate_gives_no_p_value() -> None:
    cohort, kind = plant(60, 0)
    cohort.s[:, 0] = 0.25
    records = associate(cohort, kind, settings("age"))
    dead = [r for r in records if r["feature"] == "s_0"]
    assert dead
    assert all(r["p_permutation"] is None and "one value" in r["note"] for r in dead)


def test_wrong_names_are_refused() -> None:
    cohort, kind = plant(30, 0)
    for config, message in (
        (settings("aeg"), "analysis.covariates: no attribute 'aeg'; did you mean 'age'"),
        (settings("age", site="sitte"), "analysis.site: no attribute 'sitte'; did you mean 'site'"),
        (settings(site="age"), "analysis.site: age is a number, expected a category"),
    ):
        with pytest.raises(StudioError, match=message):
            associate(cohort, kind, config)
    bare = Cohort(cohort.names, cohort.target, cohort.z, cohort.s, cohort.distance, {}, {})
    assert associate(bare, kind, settings()) == []
    with pytest.raises(StudioError, match="no attribute 'age', the data have none"):
        associate(bare, kind, settings("age"))
