"""The explorer's page: components, and what happens when one is touched. All that is computed is in `model`."""

from collections.abc import Callable, Sequence
from functools import wraps
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
import torch
from gradio.themes import Base
from torch import Tensor

from studio.app.pictures import live, still, strips, swaps, thumbnails
from studio.app.state import REACH, Choice, Explorer, Session, Shelf
from studio.data.io.images import FORMATS
from studio.errors import StudioError
from studio.method import Domain

__all__ = ["build_page", "theme"]

TRAVERSE = "Traverse"  # title of a tab
OFFERED = 18  # images to choose from at a time
FIRST = 8  # sliders in sight; the others are folded away
MOST_SLIDERS = 128  # coordinates beyond stay as the image's own code has them
QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
Update = Any  # what Gradio's functions return


def theme() -> Base:
    """Returns a theme with the system's own fonts: the page fetches nothing from elsewhere."""
    sober = Base(
        primary_hue="blue",
        neutral_hue="slate",
        text_size="sm",
        spacing_size="sm",
        radius_size="sm",
        font=["system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    )
    # Words beside pictures are small, and Gradio's own grey for them is too faint to read.
    return sober.set(
        body_text_color_subdued="*neutral_600", body_text_color_subdued_dark="*neutral_300"
    )


def build_page(shelf: Shelf) -> gr.Blocks:
    """Lays the page out for the runs on a shelf.

    Raises:
        StudioError: the first run cannot be opened.
    """
    first = shelf.open(shelf.names[0])
    with gr.Blocks(title="Contrastive studio", analytics_enabled=False, fill_width=True) as blocks:
        _Page(shelf, first).connect(blocks)
    return blocks.queue(max_size=64, default_concurrency_limit=2)


class _Picker:
    """Where one of the two images is chosen: a domain, some test images, further ones, or a file."""

    def __init__(self, letter: str, role: str) -> None:
        with gr.Group(elem_classes="picker"):
            self.domain = gr.Radio(
                [("background", "background"), ("target", "target")],
                value="target",
                label=f"{letter}: {role}",
                elem_id=f"domain-{letter}",
            )
            self.page = gr.State(0)
            self.offered = gr.State([])  # numbers of the test images in sight
            self.gallery = gr.Gallery(
                columns=6,
                height="auto",
                allow_preview=False,
                show_label=False,
                label=f"images for {letter}",
                interactive=False,
                object_fit="fill",
                format="png",
                buttons=[],
                elem_id=f"gallery-{letter}",
            )
            with gr.Row():
                self.others = gr.Button("Other images", size="sm", elem_id=f"others-{letter}")
                self.upload = gr.UploadButton(
                    "Upload a file",
                    size="sm",
                    file_types=[*FORMATS[:-1], ".gz"],
                    elem_id=f"upload-{letter}",
                )


class _Page:
    """The components in their places; `connect` says what touching them does.

    Args:
        shelf: the runs.
        first: the one that is shown first.
    """

    def __init__(self, shelf: Shelf, first: Explorer) -> None:
        self.shelf = shelf
        self.session = gr.State(None)
        self.tab = gr.State("")  # in sight
        self.drawn = gr.State(None)  # domain and seed of the new images in sight
        with gr.Row():
            with gr.Column(scale=3, min_width=260):
                gr.Markdown("# Contrastive studio", elem_classes="title")
                self.about = gr.HTML(_about(first), elem_classes="about", elem_id="about")
            with gr.Column(scale=1, min_width=220):
                self.run = gr.Dropdown(
                    shelf.names, value=first.name, label="Run", filterable=False, elem_id="run"
                )
        with gr.Row():
            with gr.Column(scale=4, min_width=260):
                self.a = _Picker("A", "keeps its common code z")
                self.b = _Picker("B", "lends its salient code s")
            with gr.Column(scale=9, min_width=260), gr.Tabs() as self.tabs:
                with gr.Tab("Explore", id="explore"):
                    self._explore(min(shelf.salient, MOST_SLIDERS))
                with gr.Tab("Swap", id="swap"):
                    self.swaps = gr.HTML(elem_id="swaps")
                with gr.Tab(TRAVERSE, id="traverse"):
                    self.strips = gr.HTML(elem_id="strips")
                with gr.Tab("New images", id="new"):
                    self._new()

    def _explore(self, sliders: int) -> None:
        self.live = gr.HTML(elem_id="live")
        self.still = gr.HTML(elem_id="still")
        with gr.Row():
            self.reset = gr.Button("Own salient code (reset)", size="sm", elem_id="reset")
            self.heal = gr.Button("Nothing salient (heal)", size="sm", elem_id="heal")
            self.take = gr.Button("Salient code of B (swap)", size="sm", elem_id="take")
        with gr.Row(elem_classes="sliders"):
            self.sliders = [_slider(place) for place in range(min(FIRST, sliders))]
        title = "The other salient coordinates, which change less"
        with (
            gr.Accordion(title, open=False, visible=sliders > FIRST) as self.rest,
            gr.Row(elem_classes="sliders"),
        ):
            self.sliders += [_slider(place) for place in range(FIRST, sliders)]

    def _new(self) -> None:
        with gr.Row():
            self.kind = gr.Radio(
                ["background", "target"], value="target", label="New images of", elem_id="kind"
            )
            self.seed = gr.Number(
                0, label="Seed", precision=0, minimum=0, maximum=2**31 - 1, elem_id="seed"
            )
            self.draw = gr.Button("Draw new images", variant="primary", elem_id="draw")
        gr.Markdown(
            "Codes drawn from the prior and decoded: nobody has taken these images. Choose one to explore it as A."
        )
        self.new = gr.Gallery(
            columns=6,
            height="auto",
            allow_preview=False,
            show_label=False,
            label="new images",
            interactive=False,
            object_fit="contain",
            format="png",
            buttons=[],
            elem_id="new",
            elem_classes="new",
        )

    def connect(self, blocks: gr.Blocks) -> None:
        """Says what happens when something is touched."""
        seen = [self.session, self.live, self.still, self.swaps, *self.sliders]
        lists = [
            part
            for picker in (self.a, self.b)
            for part in (picker.page, picker.offered, picker.gallery)
        ]
        opened = [*seen, self.about, self.rest, self.new, self.drawn, *lists]
        start = [self.run, self.a.domain, self.b.domain]
        anew = [gr.on([blocks.load, self.run.change], _told(self._start), start, opened, **QUIET)]
        for letter, picker in (("a", self.a), ("b", self.b)):
            shown = [picker.page, picker.offered, picker.gallery]
            picker.domain.input(_told(self._offer), [self.run, picker.domain], shown, **QUIET)
            picker.others.click(
                _told(self._further), [self.run, picker.domain, picker.page], shown, **QUIET
            )
            chosen = [self.session, picker.domain, picker.offered]
            anew.append(picker.gallery.select(_told(self._choosing(letter)), chosen, seen, **QUIET))
            uploaded = [self.session, picker.upload]
            anew.append(
                picker.upload.upload(_told(self._uploading(letter)), uploaded, seen, **QUIET)
            )
        edited = [self.session, self.live, *self.sliders]
        for button, base in ((self.reset, _own), (self.heal, _blank), (self.take, _lent)):
            anew.append(button.click(_told(self._setting(base)), self.session, edited, **QUIET))
        # A slider that is dragged asks for the last place it has reached, not for every one on its way.
        moves, values = [slider.input for slider in self.sliders], [self.session, *self.sliders]
        # Answered past the queue, which looks for work twenty times a second only.
        gr.on(
            moves, self._move, values, self.live, trigger_mode="always_last", queue=False, **QUIET
        )
        self.draw.click(
            _told(self._draw), [self.session, self.kind, self.seed], [self.new, self.drawn], **QUIET
        )
        self.new.select(
            _told(self._choose_new), [self.session, self.drawn], [*seen, self.tabs], **QUIET
        )
        self.tabs.select(_told(self._turn), values, [self.tab, self.strips], **QUIET)
        for event in anew:
            event.then(
                _told(self._restrip), [self.session, self.tab, *self.sliders], self.strips, **QUIET
            )

    def _start(self, name: str, a: Domain, b: Domain) -> list[Update]:
        explorer = self.shelf.open(name)
        folded = gr.update(visible=len(explorer.coordinates) > FIRST)
        lists = [*self._offer(name, a), *self._offer(name, b)]
        return [
            *self._show(explorer.begin()),
            _about(explorer),
            folded,
            gr.update(value=None),
            None,
            *lists,
        ]

    def _offer(self, name: str, domain: Domain, page: int = 0) -> list[Update]:
        explorer = self.shelf.open(name)
        indices = explorer.offered(domain, page, OFFERED)
        pictures = thumbnails(explorer.images(domain, indices))
        return [page, indices.tolist(), gr.update(value=pictures, selected_index=None)]

    def _further(self, name: str, domain: Domain, page: int) -> list[Update]:
        return self._offer(name, domain, page + 1)

    def _choosing(self, letter: str) -> Callable[..., list[Update]]:
        def choose(
            session: Session, domain: Domain, offered: list[int], event: gr.SelectData
        ) -> list[Update]:
            return self._put(
                session, letter, self._explorer(session).choose(domain, offered[event.index])
            )

        return choose

    def _uploading(self, letter: str) -> Callable[..., list[Update]]:
        def upload(session: Session, file: str) -> list[Update]:
            path = Path(file)
            try:
                return self._put(session, letter, self._explorer(session).upload(path))
            finally:
                path.unlink(missing_ok=True)  # a person's own image does not stay on the disk

        return upload

    def _put(self, session: Session, letter: str, choice: Choice) -> list[Update]:
        a, b = (choice, session.b) if letter == "a" else (session.a, choice)
        looked = self._explorer(session).look_at(a, b)
        return self._show(looked if letter == "a" else looked.at(session.base))

    def _setting(self, base: Callable[[Explorer, Session], Tensor]) -> Callable[..., list[Update]]:
        def put(session: Session) -> list[Update]:
            explorer = self._explorer(session)
            session = session.at(base(explorer, session))
            return [session, _live(explorer, session), *self._stops(explorer, session)]

        return put

    def _move(self, session: Session | None, *values: float) -> Update:
        if session is None:
            return gr.skip()
        try:
            return _live(self._explorer(session), session, values)
        except StudioError as error:  # past the queue there are no messages
            return f'<p role="alert">{escape(str(error))}</p>'

    def _draw(self, session: Session, domain: Domain, seed: int | None) -> list[Update]:
        if seed is None:
            raise StudioError("seed: expected a whole number from 0")
        made = self._explorer(session).sample(domain, OFFERED, int(seed))
        pictures = thumbnails(torch.stack([choice.image for choice in made]))
        return [gr.update(value=pictures, selected_index=None), (domain, int(seed))]

    def _choose_new(
        self, session: Session, drawn: tuple[Domain, int], event: gr.SelectData
    ) -> list[Update]:
        made = self._explorer(session).sample(drawn[0], OFFERED, drawn[1])
        return [*self._put(session, "a", made[event.index]), gr.update(selected="explore")]

    def _turn(self, session: Session, event: gr.SelectData, *values: float) -> list[Update]:
        return [event.value, self._restrip(session, event.value, *values)]

    def _restrip(self, session: Session, tab: str, *values: float) -> Update:
        """Draws the traversal anew, where it is in sight."""
        explorer = self._explorer(session)
        return strips(session, explorer.strips(session, values)) if tab == TRAVERSE else gr.skip()

    def _explorer(self, session: Session) -> Explorer:
        return self.shelf.open(session.run)

    def _show(self, session: Session) -> list[Update]:
        explorer = self._explorer(session)
        return [
            session,
            _live(explorer, session),
            still(session),
            swaps(session),
            *self._stops(explorer, session),
        ]

    def _stops(self, explorer: Explorer, session: Session) -> list[Update]:
        """Puts the sliders where the session's salient code is; a range grows where the code lies outside."""
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


def _live(explorer: Explorer, session: Session, values: Sequence[float] = ()) -> str:
    return live(session, explorer.result(session, values), explorer.moved(session, values))


def _own(explorer: Explorer, session: Session) -> Tensor:
    return session.a.code.s[0]


def _blank(explorer: Explorer, session: Session) -> Tensor:
    return explorer.blank()


def _lent(explorer: Explorer, session: Session) -> Tensor:
    return session.b.code.s[0]


def _slider(place: int) -> gr.Slider:
    return gr.Slider(
        -REACH,
        REACH,
        0,
        step=0.01,
        label=f"salient {place}",
        min_width=180,
        buttons=[],
        elem_id=f"slider-{place}",
    )


def _about(explorer: Explorer) -> str:
    """Says what the run is, and what is wrong with its data set."""
    run = explorer.run
    z, s = run.config.method.z, run.config.method.s
    shape = " x ".join(map(str, explorer.shape))
    words = (
        f"{run.config.method.name} on {run.config.data.name}, {run.images_seen:,} images seen, images {shape}, "
        f"{z} common and {s} salient coordinates. The result is decoded from the common code of A and "
        "the salient code of the sliders; a percentage is a coordinate's share of all salient change."
    )
    problem = (
        f'<p role="alert"><b>No test images:</b> {escape(explorer.problem)}</p>'
        if explorer.problem
        else ""
    )
    return f"<p>{escape(words)}</p>{problem}"


def _told(handler: Callable[..., Update]) -> Callable[..., Update]:
    """What is the user's to mend becomes a message in the page, and the page stays as it was."""

    @wraps(handler)
    def guarded(*given: object, **named: object) -> Update:
        if given[0] is None:  # before the page has been filled
            return gr.skip()
        try:
            return handler(*given, **named)
        except StudioError as error:
            gr.Warning(escape(str(error)), duration=20)
            return gr.skip()

    return guarded
