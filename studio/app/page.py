"""The app's page: its Gradio components and their events. `state` does the computing."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import wraps
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
import torch
from gradio.components import Component
from torch import Tensor

from studio.app.numbers import MOST_SEED, Number
from studio.app.parts import Cutter, describe_run, salient_slider
from studio.app.picker import Picker
from studio.app.pictures import (
    show_alert,
    show_edited,
    show_features,
    show_fixed,
    show_strips,
    show_swaps,
    thumbnails,
)
from studio.app.state import Choice, Explorer, Session, Shelf
from studio.errors import StudioError
from studio.method import Domain

__all__ = ["build_page"]

TRAVERSE = "Traverse"  # title of a tab
OFFERED = 18  # images to choose from at a time
FIRST = 8  # sliders that are visible at once. The others are folded away
MOST_SLIDERS = 128  # further coordinates keep the values of the image's own code
QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
Update = Any  # Gradio accepts values, components and updates of components


def build_page(shelf: Shelf) -> gr.Blocks:
    """Builds the page for the runs on a shelf.

    Raises:
        StudioError: the first run cannot be opened.
    """
    first = shelf.open(shelf.names[0])
    with gr.Blocks(title="Contrastive studio", analytics_enabled=False, fill_width=True) as blocks:
        _Page(shelf, first).connect(blocks)
    return blocks.queue(max_size=64, default_concurrency_limit=2)


class _Page:
    """The components of the page. `connect` adds their events.

    Args:
        shelf: the runs.
        first: the run that is shown first.
    """

    def __init__(self, shelf: Shelf, first: Explorer) -> None:
        self.shelf = shelf
        self.session = gr.State(None)
        self.tab = gr.State("")  # the visible tab
        self.drawn = gr.State(None)  # domain and seed of the visible generated images
        with gr.Row():
            with gr.Column(scale=3, min_width=260):
                gr.Markdown("# Contrastive studio", elem_classes="title")
                self.about = gr.HTML(describe_run(first), elem_classes="about", elem_id="about")
            with gr.Column(scale=1, min_width=220):
                self.run = gr.Dropdown(
                    shelf.names, value=first.name, label="Run", filterable=False, elem_id="run"
                )
        with gr.Row():
            with gr.Column(scale=4, min_width=260):
                self.a = Picker("A", "keeps its common code z", first.shape)
                self.b = Picker("B", "lends its salient code s", first.shape)
            with gr.Column(scale=9, min_width=260):
                self.cutter = Cutter(first)
                with gr.Tabs() as self.tabs:
                    with gr.Tab("Explore", id="explore"):
                        self._explore(min(shelf.salient, MOST_SLIDERS))
                    with gr.Tab("Swap", id="swap"):
                        self.swaps = gr.HTML(elem_id="swaps")
                    with gr.Tab(TRAVERSE, id="traverse"):
                        self.strips = gr.HTML(elem_id="strips")
                    with gr.Tab("Generated images", id="new"):
                        self._new()

    def _explore(self, sliders: int) -> None:
        self.edited = gr.HTML(elem_id="live")
        self.fixed = gr.HTML(elem_id="still")
        with gr.Row():
            self.reset = gr.Button("Own salient code (reset)", size="sm", elem_id="reset")
            self.heal = gr.Button("Nothing salient (heal)", size="sm", elem_id="heal")
            self.take = gr.Button("Salient code of B (swap)", size="sm", elem_id="take")
        with gr.Row(elem_classes="sliders"):
            self.sliders = [salient_slider(place) for place in range(min(FIRST, sliders))]
        title = "Further salient coordinates, with smaller effects"
        with (
            gr.Accordion(title, open=False, visible=sliders > FIRST) as self.rest,
            gr.Row(elem_classes="sliders"),
        ):
            self.sliders += [salient_slider(place) for place in range(FIRST, sliders)]
        self.features = gr.HTML(elem_id="features")
        self.live = [self.edited, self.features]  # all that a slider changes

    def _new(self) -> None:
        with gr.Row():
            self.kind = gr.Radio(
                ["background", "target"], value="target", label="Generate images of", elem_id="kind"
            )
            self.seed = Number(
                0, label="Seed", precision=0, minimum=0, maximum=MOST_SEED, elem_id="seed"
            )
            self.draw = gr.Button("Generate images", variant="primary", elem_id="draw")
        gr.Markdown(
            "The model generates these images from random codes. They show no real subject. Click "
            "one to explore it as A."
        )
        self.new = gr.Gallery(
            columns=6,
            height="auto",
            allow_preview=False,
            show_label=False,
            label="generated images",
            interactive=False,
            object_fit="contain",
            format="png",
            buttons=[],
            elem_id="new",
            elem_classes="new",
        )

    def connect(self, blocks: gr.Blocks) -> None:
        """Adds the events of the components."""
        seen = [self.session, *self.live, self.fixed, self.swaps, *self.sliders]
        lists = [
            part
            for picker in (self.a, self.b)
            for part in (picker.page, picker.offered, picker.gallery)
        ]
        opened = [*seen, self.about, self.rest, self.new, self.drawn, *lists]
        opened += [*self.cutter.parts, *self.a.parts, *self.b.parts]
        start = [self.run, self.a.domain, self.b.domain, self.session]
        begin = [blocks.load, self.run.change]
        reloads = [gr.on(begin, _show_errors(self._start), start, opened, **QUIET)]
        for letter, picker in (("a", self.a), ("b", self.b)):
            shown = [picker.page, picker.offered, picker.gallery]
            picker.domain.input(
                _show_errors(self._offer), [self.run, picker.domain], shown, **QUIET
            )
            picker.others.click(
                _show_errors(self._offer_more),
                [self.run, picker.domain, picker.page],
                shown,
                **QUIET,
            )
            chosen = [self.session, picker.domain, picker.offered]
            reloads.append(
                picker.gallery.select(
                    _show_errors(self._choose_handler(letter)), chosen, seen, **QUIET
                )
            )
            uploaded = [self.session, picker.upload, picker.row]
            reloads.append(
                picker.upload.upload(
                    _show_errors(self._upload_handler(letter)), uploaded, seen, **QUIET
                )
            )
        results = [self.session, *self.live, *self.sliders]
        for button, base in (
            (self.reset, _salient_of_a),
            (self.heal, _blank),
            (self.take, _salient_of_b),
        ):
            reloads.append(
                button.click(_show_errors(self._base_handler(base)), self.session, results, **QUIET)
            )
        # While a slider is dragged, only its latest value is requested.
        moves, values = [slider.input for slider in self.sliders], [self.session, *self.sliders]
        # Not queued, because the queue checks for work only twenty times a second.
        gr.on(
            moves, self._move, values, self.live, trigger_mode="always_last", queue=False, **QUIET
        )
        self.tabs.select(_show_errors(self._select_tab), values, [self.tab, self.strips], **QUIET)
        self._connect_planes()
        self._connect_new(seen)
        for event in reloads:
            event.then(
                _show_errors(self._update_strips),
                [self.session, self.tab, *self.sliders],
                self.strips,
                **QUIET,
            )

    def _connect_planes(self) -> None:
        planes = self.cutter.sliders
        gr.on(
            [slider.input for slider in planes],
            _show_errors(self._cut),
            [self.session, self.tab, *planes, *self.sliders],
            [self.session, *self.live, self.fixed, self.swaps, self.strips],
            trigger_mode="always_last",
            **QUIET,
        )

    def _connect_new(self, seen: Sequence[Component]) -> None:
        self.draw.click(
            _show_errors(self._draw),
            [self.session, self.kind, self.seed],
            [self.new, self.drawn],
            **QUIET,
        )
        self.new.select(
            _show_errors(self._choose_generated),
            [self.session, self.drawn],
            [*seen, self.tabs],
            **QUIET,
        )

    def _start(self, name: str, a: Domain, b: Domain, session: Session | None) -> list[Update]:
        explorer = self.shelf.open(name)
        folded = gr.update(visible=len(explorer.coordinates) > FIRST)
        lists = [*self._offer(name, a), *self._offer(name, b)]
        parts = (self.cutter, self.a, self.b)
        return [
            *self._show(explorer.begin(session)),
            describe_run(explorer),
            folded,
            gr.update(value=None),
            None,
            *lists,
            *(update for part in parts for update in part.updates(explorer.shape)),
        ]

    def _offer(self, name: str, domain: Domain, page: int = 0) -> list[Update]:
        explorer = self.shelf.open(name)
        indices = explorer.offered(domain, page, OFFERED)
        pictures = thumbnails(explorer.images(domain, indices))
        return [page, indices.tolist(), gr.update(value=pictures, selected_index=None)]

    def _offer_more(self, name: str, domain: Domain, page: int) -> list[Update]:
        return self._offer(name, domain, page + 1)

    def _choose_handler(self, letter: str) -> Callable[..., list[Update]]:
        def choose(
            session: Session, domain: Domain, offered: list[int], event: gr.SelectData
        ) -> list[Update]:
            return self._choose(
                session, letter, self._explorer(session).choose(domain, offered[event.index])
            )

        return choose

    def _upload_handler(self, letter: str) -> Callable[..., list[Update]]:
        def upload(session: Session, file: str, row: int | None) -> list[Update]:
            path = Path(file)
            try:
                return self._choose(session, letter, self._explorer(session).upload(path, row or 1))
            finally:
                path.unlink(missing_ok=True)  # uploaded images do not stay on the disk

        return upload

    def _choose(self, session: Session, letter: str, choice: Choice) -> list[Update]:
        a, b = (choice, session.b) if letter == "a" else (session.a, choice)
        updated = replace(self._explorer(session).look_at(a, b), planes=session.planes)
        return self._show(updated if letter == "a" else updated.at(session.base))

    def _base_handler(
        self, base: Callable[[Explorer, Session], Tensor]
    ) -> Callable[..., list[Update]]:
        def move_sliders(session: Session) -> list[Update]:
            explorer = self._explorer(session)
            session = session.at(base(explorer, session))
            return [session, *_edited(explorer, session), *self._stops(explorer, session)]

        return move_sliders

    def _move(self, session: Session | None, *values: float) -> list[Update]:
        if session is None:
            return [gr.skip()] * len(self.live)
        try:
            return _edited(self._explorer(session), session, values)
        except StudioError as error:  # Gradio shows no messages of events that are not queued
            return [show_alert(str(error)), gr.skip()]

    def _cut(self, session: Session, tab: str, *values: float) -> list[Update]:
        """Shows volumes in other planes."""
        planes, salient = values[: len(self.cutter.sliders)], values[len(self.cutter.sliders) :]
        session = replace(session, planes=(int(planes[0]), int(planes[1]), int(planes[2])))
        edited = _edited(self._explorer(session), session, salient)
        strips = self._update_strips(session, tab, *salient)
        return [session, *edited, show_fixed(session), show_swaps(session), strips]

    def _draw(self, session: Session, domain: Domain, seed: int | None) -> list[Update]:
        if seed is None:
            raise StudioError("seed: expected a whole number of at least 0")
        choices = self._explorer(session).sample(domain, OFFERED, int(seed))
        pictures = thumbnails(torch.stack([choice.image for choice in choices]))
        return [gr.update(value=pictures, selected_index=None), (domain, int(seed))]

    def _choose_generated(
        self, session: Session, drawn: tuple[Domain, int], event: gr.SelectData
    ) -> list[Update]:
        choices = self._explorer(session).sample(drawn[0], OFFERED, drawn[1])
        return [*self._choose(session, "a", choices[event.index]), gr.update(selected="explore")]

    def _select_tab(self, session: Session, event: gr.SelectData, *values: float) -> list[Update]:
        return [event.value, self._update_strips(session, event.value, *values)]

    def _update_strips(self, session: Session, tab: str, *values: float) -> Update:
        """Draws the traversal again if its tab is visible."""
        explorer = self._explorer(session)
        if tab != TRAVERSE:
            return gr.skip()
        return show_strips(session, explorer.traverse(session, values))

    def _explorer(self, session: Session) -> Explorer:
        return self.shelf.open(session.run)

    def _show(self, session: Session) -> list[Update]:
        explorer = self._explorer(session)
        return [
            session,
            *_edited(explorer, session),
            show_fixed(session),
            show_swaps(session),
            *self._stops(explorer, session),
        ]

    def _stops(self, explorer: Explorer, session: Session) -> list[Update]:
        """Moves the sliders to the session's salient code, and widens ranges that exclude it."""
        updates: list[Update] = [gr.update(visible=False)] * len(self.sliders)
        stops = zip(
            explorer.coordinates,
            explorer.stops(session.base),
            range(len(self.sliders)),
            strict=False,
        )
        for coordinate, stop, place in stops:
            updates[place] = gr.update(
                minimum=min(coordinate.low, stop),
                maximum=max(coordinate.high, stop),
                step=coordinate.step,
                value=stop,
                label=f"s[{coordinate.number}] · {coordinate.share:.0%}",
                visible=True,
            )
        return updates


def _edited(explorer: Explorer, session: Session, values: Sequence[float] = ()) -> list[str]:
    s, result = explorer.salient_code(session, values), explorer.result(session, values)
    return [show_edited(session, result, s), show_features(session, result, explorer.rule)]


def _salient_of_a(explorer: Explorer, session: Session) -> Tensor:
    return session.a.code.s[0]


def _blank(explorer: Explorer, session: Session) -> Tensor:
    return explorer.blank()


def _salient_of_b(explorer: Explorer, session: Session) -> Tensor:
    return session.b.code.s[0]


def _show_errors(handler: Callable[..., Update]) -> Callable[..., Update]:
    """Returns a handler that shows a StudioError as a message and leaves the page unchanged."""

    @wraps(handler)
    def guarded(*given: object, **named: object) -> Update:
        if given[0] is None:  # the page has not been filled yet
            return gr.skip()
        try:
            return handler(*given, **named)
        except StudioError as error:
            gr.Warning(escape(str(error)), duration=20)
            return gr.skip()

    return guarded
