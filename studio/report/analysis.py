"""`studio analyse`: the whole of it, its page, and its part of a report."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from studio.analysis_config import AnalysisConfig
from studio.atomic import write_file, write_json, write_text
from studio.errors import warn
from studio.report.blocks import Figure, Table, embed
from studio.runs.run import Run
from studio.templates import load_templates

__all__ = [
    "AnalysisBlock",
    "analyse_run",
    "analysis_blocks",
    "analysis_lines",
    "read_analysis",
    "render_blocks",
]

FILE, PAGE, FOLDER = "analysis.json", "analysis.html", "analysis"
HERE = Path(__file__).parent
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
MOST_BYTES = 800_000  # of a picture
MOST_ROWS = 25  # associations in a table
LEVEL = 0.05
PICTURES = {
    "difference": "ROC curve and distances of held-out subjects",
    "extremes": "Most and least different targets",
    "groups": "Typical members of the subgroups",
    "where": "Mean difference of reconstruction and healed image",
}


class AnalysisBlock(NamedTuple):
    """One part of an analysis on a page: a headline, sentences, tables and pictures."""

    headline: str
    lines: Sequence[str]
    tables: Sequence[Table]
    figures: Sequence[Figure]


def analyse_run(
    run: Run,
    config: AnalysisConfig,
    others: Sequence[Run] = (),
    maps: bool = True,
    log: Callable[[str], object] = lambda line: None,
) -> dict[str, Any]:
    """Analyses a run, and writes `analysis.json`, `analysis.html` and the pictures into it.

    Args:
        run: a run whose data can be opened.
        config: see `studio.analyse.analyse`.
        others: trainings on the same data with other seeds.
        maps: whether to measure where the targets differ.
        log: called with lines about the work.

    Returns:
        the content of `analysis.json`.

    Raises:
        StudioError: see `studio.analyse.analyse`, or a file cannot be written.
    """
    from studio.analyse import analyse
    from studio.analyse.pictures import draw_difference, draw_extremes, draw_groups
    from studio.analyse.where import measure_places

    found = analyse(run, config, others, log)
    out = run.folder / FOLDER
    if maps:
        measure_places(found, out, log)
    drawn = {"difference": draw_difference, "extremes": draw_extremes}
    if found.groups.number > 1:
        drawn["groups"] = draw_groups
    else:
        (out / "groups.png").unlink(missing_ok=True)
    for name, draw in drawn.items():
        picture = draw(found)
        write_file(out / f"{name}.png", lambda partial, picture=picture: picture.save(partial))
    write_json(run.folder / FILE, found.result)
    write_text(run.folder / PAGE, render_analysis(run.folder, found.result))
    return found.result


def read_analysis(folder: Path, images_seen: int) -> dict[str, Any] | None:
    """Reads `analysis.json` if it belongs to a checkpoint.

    Returns:
        the content, or None if there is none of this checkpoint. A damaged file is ignored with a
        warning.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
        if result["images_seen"] != images_seen:
            return None
        analysis_lines(result)
        _blocks(result, {})
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError):
        warn(f"{path}: not an analysis as studio analyse writes it; left out")
        return None
    return result


def render_analysis(folder: Path, result: Mapping[str, Any]) -> str:
    """Returns the page of an analysis as one HTML document."""
    return render_blocks(f"Analysis of {folder.resolve().name}", analysis_blocks(folder, result))


def render_blocks(title: str, blocks: Sequence[AnalysisBlock]) -> str:
    """Returns parts with headlines as one HTML document that needs no network."""
    template = load_templates(HERE).get_template("analysis.html.jinja")
    return template.render(
        title=title,
        policy=POLICY,
        style=(HERE / "style.css").read_text(encoding="utf-8"),
        blocks=blocks,
    )


def analysis_blocks(
    folder: Path, result: Mapping[str, Any], private: bool = False
) -> list[AnalysisBlock]:
    """Returns the parts of an analysis, with the pictures of a run's folder.

    Private parts have no picture of a single subject.
    """
    pictures = {}
    for name, alt in PICTURES.items():
        path = folder / FOLDER / f"{name}.png"
        wanted = (name != "groups" or result["subgroups"]["number"] > 1) and (
            name != "where" or "where" in result
        )
        wanted = wanted and not (private and name in ("extremes", "groups"))
        if wanted and path.is_file():
            with Image.open(path) as opened:
                pictures[name] = embed(opened.convert("RGB"), MOST_BYTES, alt, alt)
    return _blocks(result, pictures)


def _blocks(result: Mapping[str, Any], pictures: Mapping[str, Figure]) -> list[AnalysisBlock]:
    def chosen(*names: str) -> list[Figure]:
        return [pictures[name] for name in names if name in pictures]

    lines = _sections(result)
    groups = result["subgroups"]
    blocks = [
        AnalysisBlock(
            "How different",
            lines["difference"],
            [_thresholds(result["difference"])],
            chosen("difference", "extremes"),
        ),
        AnalysisBlock(
            "Subgroups",
            lines["subgroups"],
            [_candidates(groups["candidates"])] if groups["candidates"] else [],
            chosen("groups"),
        ),
        AnalysisBlock("Associations", lines["associations"], _associations(result), []),
    ]
    if "where" in result:
        tables = [_regions(result["where"]["regions"])] if result["where"]["regions"] else []
        blocks.append(AnalysisBlock("Where", lines["where"], tables, chosen("where")))
    seeds = result["trust"]["seeds"]
    tables = [_seeds(seeds)] if seeds else []
    blocks.append(AnalysisBlock("Trust", lines["trust"], tables, []))
    return blocks


def analysis_lines(result: Mapping[str, Any]) -> list[str]:
    """Returns the findings as sentences, for the terminal."""
    return [line for lines in _sections(result).values() for line in lines]


def _sections(result: Mapping[str, Any]) -> dict[str, list[str]]:
    sections = {
        "difference": _difference_lines(result),
        "subgroups": _group_lines(result["subgroups"]),
        "associations": _association_lines(result["associations"]),
    }
    if "where" in result:
        sections["where"] = [_where_line(group) for group in result["where"]["groups"]]
    sections["trust"] = _trust_lines(result)
    return sections


def _difference_lines(result: Mapping[str, Any]) -> list[str]:
    found, n = result["difference"], result["n"]
    lines = [
        f"{n['target']} targets and {n['background']} controls, held out ({n['images']:,} images): "
        f"a target lies farther from blank than a control in {found['auc']:.1%} of pairs "
        f"(95 % interval {found['auc_low']:.1%} to {found['auc_high']:.1%}, chance 50 %)."
    ]
    adjusted = found["adjusted"]
    if adjusted["covariates"] or adjusted.get("note"):
        words = ", ".join(adjusted["covariates"]) or "no covariates"
        value = (
            f"{adjusted['difference']:.2f} standard deviations ({adjusted['low']:.2f} to "
            f"{adjusted['high']:.2f}), p {_p(adjusted['p_permutation'])} by permutation"
            if adjusted["difference"] is not None
            else "not measured"
        )
        note = f"; {adjusted['note']}" if "note" in adjusted else ""
        lines.append(f"Difference in distance after {words}: {value}{note}.")
    return lines + [f"{note[:1].upper()}{note[1:]}." for note in result["notes"]]


def _group_lines(groups: Mapping[str, Any]) -> list[str]:
    lines = [f"{note[:1].upper()}{note[1:]}." for note in groups["notes"]]
    if groups["number"] < 2:
        return ["No subgroups among the targets.", *lines]
    sizes = ", ".join(str(group["n"]) for group in groups["groups"])
    return [f"{groups['number']} subgroups of targets ({groups['method']}): {sizes}.", *lines]


def _association_lines(records: Sequence[Mapping[str, Any]]) -> list[str]:
    if not records:
        return ["No attributes to test."]
    lines = []
    for family in ("salient", "common"):
        own = [record for record in records if record["family"] == family]
        tested = [record for record in own if record["q"] is not None]
        hits = sorted({r["attribute"] for r in tested if r["q"] <= LEVEL})
        if tested:
            words = ", ".join(hits) if hits else "none"
            lines.append(
                f"Attributes that go with the {family} code (q <= {LEVEL}, {len(tested)} tests): "
                f"{words}."
            )
    reasons = dict.fromkeys(
        f"{r['attribute']}: {r['note']}." for r in records if r["feature"] is None
    )
    return lines + list(reasons)


def _where_line(group: Mapping[str, Any]) -> str:
    name = "Targets" if group["group"] == "targets" else f"Subgroup {group['group']}"
    test = group["test"]
    start = f"{name} ({group['n']}): "
    if test is None:
        return f"{start}{group.get('note', 'not tested')}."
    return (
        f"{start}{test['share']:.1%} of the places differ from the controls (p <= 0.05, corrected "
        f"for all places); the strongest is at {tuple(test['peak'])}, t {test['peak_t']:.1f}."
    )


def _trust_lines(result: Mapping[str, Any]) -> list[str]:
    lines = [f"Warning: {line}." for line in result["warnings"]]
    leak = result["trust"]["common_code"]
    if leak["balanced_accuracy"] is None:
        lines.append(f"The common code was not read: {leak.get('note', 'too few subjects')}.")
    elif not leak["leaks"]:
        lines.append(
            f"The common code does not tell the sets apart (balanced accuracy "
            f"{leak['balanced_accuracy']:.2f} ± {leak['error']:.2f})."
        )
    seeds = result["trust"]["seeds"]
    if seeds:
        lines.append(
            f"Over {len(seeds['runs'])} trainings: pairs of subjects in one subgroup stay together "
            f"in {_share(seeds['together'])}, adjusted Rand {_number(seeds['adjusted_rand'])}, "
            f"rank correlation of the distances {_number(seeds['distance_rho'])}."
        )
    return lines


def _p(value: float | None) -> str:
    return "-" if value is None else f"{value:.2g}"


def _number(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"


def _thresholds(found: Mapping[str, Any]) -> Table:
    rows = [
        [
            f"{row['share']:.0%}",
            _number(row["threshold"], 3),
            "-" if row["controls_beyond"] is None else f"{row['controls_beyond']:.1%}",
            f"{row['targets_beyond']:.1%}",
        ]
        for row in found["thresholds"]
    ]
    head = ["controls expected beyond", "threshold", "controls found", "targets found"]
    caption = "Subjects beyond thresholds. Controls found: of one half, beyond that of the other"
    return Table(caption, head, rows)


def _candidates(candidates: Sequence[Mapping[str, Any]]) -> Table:
    rows = [
        [
            str(c["groups"]),
            c["method"],
            _number(c["bic"], 0),
            _number(c["stability"]),
            _number(c["reference"]),
            "-" if c["smallest"] is None else str(c["smallest"]),
            "yes" if c["passes"] else "no",
        ]
        for c in candidates
    ]
    head = ["groups", "method", "BIC", "stability", "without groups", "smallest", "passes"]
    caption = "Numbers of subgroups. Stability is the adjusted Rand index of bootstrap samples"
    return Table(caption, head, rows)


def _associations(result: Mapping[str, Any]) -> list[Table]:
    tables = []
    for family in ("salient", "common"):
        own = [r for r in result["associations"] if r["family"] == family and r["q"] is not None]
        own.sort(key=lambda r: (r["q"], r["p"] if r["p"] is not None else 1.0))
        if not own:
            continue
        more = f" (the first {MOST_ROWS} of {len(own)})" if len(own) > MOST_ROWS else ""
        rows = [
            [
                r["feature"],
                r["attribute"],
                str(r["effect"]).replace("_", " "),
                _number(r["value"]),
                f"{_number(r['low'])} to {_number(r['high'])}",
                _p(r["p"]),
                _p(r["p_permutation"]),
                _p(r["q"]),
                str(r["n"]),
            ]
            for r in own[:MOST_ROWS]
        ]
        head = ["feature", "attribute", "effect", "size", "95 % interval", "p of the model",
                "p by permutation", "q", "n"]  # fmt: skip
        tables.append(Table(f"The {family} code and the attributes of targets{more}", head, rows))
    return tables


def _regions(regions: Sequence[Mapping[str, Any]]) -> Table:
    rows = [
        [
            str(r["group"]),
            str(r["region"]),
            _number(r["difference"], 4),
            f"{_number(r['low'], 4)} to {_number(r['high'], 4)}",
            _p(r["p"]),
            _p(r["q"]),
        ]
        for r in regions
    ]
    head = ["group", "region", "difference", "95 % interval", "p, corrected", "q"]
    return Table("Regions of the atlas, beside the controls", head, rows)


def _seeds(seeds: Mapping[str, Any]) -> Table:
    rows = [
        [
            f"{p['a']} and {p['b']}",
            str(p["n"]),
            " and ".join(map(str, p["groups"])),
            _share(p["together"]),
            _number(p["adjusted_rand"]),
            _number(p["distance_rho"]),
        ]
        for p in seeds["pairs"]
    ]
    head = ["trainings", "n", "subgroups", "pairs together", "adjusted Rand", "rank correlation"]
    return Table("Agreement of trainings with other seeds", head, rows)
