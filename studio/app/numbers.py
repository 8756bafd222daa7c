"""Inputs of the app's page that move a typed number into their range.

Gradio itself answers such a number with an error, which the browser gets as HTTP 500.
"""

from abc import ABCMeta
from typing import Any

import gradio as gr
from gradio.component_meta import ComponentMeta

__all__ = ["MOST_SEED", "Number", "Slider"]

MOST_SEED = 2**31 - 1


class Unwritten(ComponentMeta):
    """Makes a component without the file of types that Gradio would write beside this module."""

    def __new__(mcs, name: str, bases: tuple[type, ...], attributes: dict[str, Any]) -> type:
        return ABCMeta.__new__(mcs, name, bases, attributes)


class Slider(gr.Slider, metaclass=Unwritten):
    """A slider that moves a typed number into its range."""

    def preprocess(self, payload: float) -> float:
        return super().preprocess(min(max(payload, self.minimum), self.maximum))

    def get_block_name(self) -> str:  # the page's script is that of a slider
        return "slider"


class Number(gr.Number, metaclass=Unwritten):
    """A number field that moves a typed number into its range."""

    def preprocess(self, payload: float | None) -> float | int | None:
        if payload is not None and self.minimum is not None and self.maximum is not None:
            payload = min(max(payload, self.minimum), self.maximum)
        return super().preprocess(payload)

    def get_block_name(self) -> str:
        return "number"
