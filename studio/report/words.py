"""Numbers and times as people write them."""

from collections.abc import Mapping, Sequence

__all__ = ["format_duration", "format_number"]


def format_number(value: object) -> str:
    """Formats a number with four digits, a count with thousands, anything else as it is."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {format_number(part)}" for key, part in value.items()) or "-"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(format_number(part) for part in value) or "-"
    return str(value)


def format_duration(seconds: float) -> str:
    """Formats a time, such as `3 h 50 min` or `42 s`."""
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 60} min {whole % 60} s" if whole >= 60 else f"{whole} s"
