"""Fonts, colours and sizes of the app's page."""

from pathlib import Path

from gradio.themes import Base

__all__ = ["STYLE", "theme"]

STYLE = Path(__file__).with_name("style.css")


def theme() -> Base:
    """Returns a theme with fonts of the system, so that the page fetches nothing from elsewhere."""
    sober = Base(
        primary_hue="blue",
        neutral_hue="slate",
        text_size="sm",
        spacing_size="sm",
        radius_size="sm",
        font=["system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    )
    # A darker gray, because Gradio's own is too faint for the small words next to pictures.
    return sober.set(
        body_text_color_subdued="*neutral_600", body_text_color_subdued_dark="*neutral_300"
    )
