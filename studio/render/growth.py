"""The growth of the cost of an image, as a plot."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from PIL import Image

from studio.render.figure import as_label, own_style, to_picture
from studio.render.scatter import COLOURS

__all__ = ["draw_growth"]

PANELS = {"seconds_per_image": "seconds per image", "bytes": "memory in GB"}
GIGA = 1e9


def draw_growth(
    growths: Mapping[str, Sequence[Mapping[str, Any]]], title: str, dpi: int = 110
) -> Image.Image:
    """Draws one row of panels per field: time and memory against its values.

    Args:
        growths: field -> rows of `studio.bench.measure_growth`.
        title: of the figure.
        dpi: dots per inch.

    Returns:
        the picture. A dashed line shows the time that the number of operations lets expect.
    """
    with own_style([title, *growths]):
        figure = Figure(figsize=(8, 0.6 + 2.6 * len(growths)), layout="constrained")
        figure.suptitle(as_label(title), fontsize=10)
        axes = figure.subplots(len(growths), len(PANELS), squeeze=False)
        for line, (field, rows) in zip(axes, growths.items(), strict=True):
            places = range(len(rows))
            for panel, (key, label) in zip(line, PANELS.items(), strict=True):
                scale = GIGA if key == "bytes" else 1
                measured = [row[key] / scale for row in rows]
                panel.plot(places, measured, "o-", color=COLOURS[0], label="measured")
                if key == "seconds_per_image":
                    expected = [row["expected"] for row in rows]
                    panel.plot(places, expected, "--", color="#4D4D4D", label="by operations")
                    panel.legend(frameon=False, fontsize=8)
                panel.set_ylim(bottom=0)
                panel.set_xticks(places, [as_label(str(row["value"])) for row in rows])
                panel.set_xlabel(as_label(field))
                panel.set_ylabel(label)
        return to_picture(figure, dpi=dpi)
