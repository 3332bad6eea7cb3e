"""The live panel: buttons, knobs and pictures around a run.

In JupyterLab the cell that shows it returns at once. A background thread trains; every fifth of a second it collects a
few arrays, which a helper process turns into pictures, so that drawing costs the training next to nothing. Without a
person watching (papermill, nbval, nbconvert, plain Python) the same cell trains its finite number of steps in the
foreground and leaves one still picture.
"""

from __future__ import annotations

import atexit
import datetime
import html
import math
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path

import ipywidgets as widgets

from ..errors import LabError, check_number
from ..training import Run
from ..training.live import is_live, pause_all
from ..training.session import save_session
from .controls import KnobControl
from .described import AltTexts
from .painter import shared_painter
from .pictures import Picture, blank, still
from .recovery import Shelf

REFRESH = 0.12          # seconds between two screen updates at best
SCALE = 1.5             # image pixels per screen pixel: sharp enough, and half the work for painter and browser
SPEEDS = [("full", 0.0), ("300 steps/s", 300.0), ("100 steps/s", 100.0), ("30 steps/s", 30.0)]
TELL = 5                # seconds between two descriptions of the pictures while it trains
SHARE = 0.1             # of the training time, at most, goes into collecting what is drawn


_ending = threading.Event()
_settlers: weakref.WeakSet[threading.Thread] = weakref.WeakSet()


@atexit.register
def _end() -> None:
    """Torch must not compute while the interpreter shuts down."""
    _ending.set()
    for thread in list(_settlers):
        thread.join(5)


class Panel:
    """A live view of one run.

    Args:
        run: what is trained.
        rows: the pictures, row by row; each a dict of :class:`~dgmlab.widgets.pictures.Picture` by name.
        knobs: names of the knobs to show, in order.
        schedules: for some knobs, what the menu beside them offers; see :class:`KnobControl`.
        view: further widgets that change what is shown, not what is trained.
        steps: how far ``run.wait()`` waits, and how long a run without a front end is.
        stop: pause by itself after every ``steps`` steps; without it, Start trains until somebody pauses.
        pace: the most steps a second while somebody watches, for what would be over too soon; None for no limit.
        name: of the files that Save writes.
    """

    def __init__(self, run: Run, rows: list[dict[str, Picture]], knobs: list[str], *, schedules: dict | None = None,
                 view: list[widgets.Widget] = (), steps: int = 2000, stop: bool = False, pace: float | None = None,
                 name: str = "run"):
        check_number("The number of steps", steps, 1, whole=True)
        pause_all("a new panel was opened")
        self.run, self.name = run, name
        self.pictures = {key: picture for row in rows for key, picture in row.items()}
        self.rows, self.steps = rows, int(steps)
        run.live.goal = run.step + self.steps
        run.live.stint = self.steps if stop else None
        self._due = dict.fromkeys(self.pictures, 0.0)
        self._next = self._frames = 0
        self._seen: dict[str, dict] = {}            # by picture, the data that were drawn last
        self._told = 0.0
        self._settling: dict[str, int] = {}         # pictures that still move by themselves: refreshes left
        self._clock = (time.monotonic(), run.step)
        self._speed = 0.0
        self._said = ""
        if is_live():
            self.shelf = Shelf(run, name)
            run.live.pace = pace
            self._build(knobs, schedules or {}, list(view))

    # -- what it looks like --------------------------------------------------------------------------------------

    def _build(self, knobs, schedules, view):
        run = self.run
        self.buttons = {
            "start": button("Start", "play", f"Train for {self.steps:,} steps, or until paused" if run.live.stint else
                             "Train until paused", self._start, "success"),
            "pause": button("Pause", "pause", "Stop after this step; nothing is lost", self._pause),
            "step": button("Step", "step-forward", "Train for one step", self._step),
            "reset": button("Reset", "undo", "Back to step 0, with the initial weights and knobs", self._reset),
            "save": button("Save", "save", "Write the session: what was moved at which step, and the numbers",
                            self._save)}
        if self.shelf.last:
            at = f"{self.shelf.last[1]:,}"
            self.buttons["recover"] = button(f"Go on from step {at}", "history", "An earlier session of this "
                                             f"experiment ended at step {at}: go on with it", self._recover,
                                             width="210px")
        # A line of its own, and of a fixed height, so that nothing below moves when the numbers grow.
        self.status = widgets.HTML(layout={"min_height": "28px", "margin": "2px"})
        self.controls = [KnobControl(run.knobs, name, run.live.touch, schedules.get(name)) for name in knobs]
        self.speed = widgets.Dropdown(options=SPEEDS, description="speed", tooltip="At most so many steps a second",
                                      value=min(dict(SPEEDS).values(), key=lambda v: abs(v - (run.live.pace or 0))),
                                      style={"description_width": "initial"}, layout={"width": "180px"})
        self.speed.observe(lambda change: setattr(run.live, "pace", change["new"] or None), "value")
        # Placeholders of the right size; side by side at their own size on a wide page, smaller on a narrow one.
        self.images, lines = {}, []
        for row in self.rows:
            whole = sum(picture.size[0] for picture in row.values())
            for key, (width, height) in ((key, picture.size) for key, picture in row.items()):
                self.images[key] = widgets.Image(
                    value=blank(width, height), format="jpeg", width=width, height=height,
                    layout={"width": f"{99.5 * width / whole:.2f}%", "max_width": f"{1.3 * width:.0f}px",
                            "height": "auto"})
            lines.append(widgets.HBox([self.images[key] for key in row], layout={"align_items": "flex-start"}))
        wrap = {"align_items": "center", "flex_flow": "row wrap"}
        self.widget = widgets.VBox([
            widgets.HBox([*self.buttons.values(), self.speed], layout=wrap), self.status,
            widgets.HBox([control.widget for control in self.controls], layout=wrap),
            *([widgets.HBox(view, layout=wrap)] if view else []), *lines])
        self.words = AltTexts(self.widget)
        for widget in view:
            if hasattr(widget, "value"):
                widget.observe(lambda change: self.redraw(), "value")
        self.painter = shared_painter()
        for key, picture in self.pictures.items():
            picture.scale = SCALE
            self.painter.add(self._key(key), picture)
        weakref.finalize(self, _forget, self.painter, [self._key(key) for key in self.pictures])
        run.live.watchers = [self._watch]
        run.live.on_state = [self.redraw]
        self.redraw()

    def _ipython_display_(self):
        from IPython.display import display

        if is_live():
            # Where the widget cannot be shown (a saved notebook opened again), this text stands in its place.
            bundle = self.widget._repr_mimebundle_() | {"text/plain": "The live panel. Run this cell to see it."}
            display(bundle, raw=True)
        else:
            self.run.wait()
            self.show_still()

    def show_still(self) -> None:
        """Show all pictures as one PNG with alt text, and the knobs' state in words."""
        with self.run.lock:
            data = {key: picture.collect(self.run) for key, picture in self.pictures.items()}
        still(self.rows, data)

    # -- drawing -------------------------------------------------------------------------------------------------

    def _watch(self, run):
        """After each step, in the training thread: hand the painter what is due, if it is free."""
        now = time.monotonic()
        if now < self._next:
            return
        self.shelf.keep(now)
        sent = self._send(now)
        spent = time.monotonic() - now
        self._next = now + (max(REFRESH, spent / SHARE) if sent else 0.02)

    def redraw(self) -> None:
        """Draw everything once, training or not."""
        self._due = dict.fromkeys(self.pictures, 0.0)
        self._next = 0
        if not self.run.live.training or self._frames == 0:
            self._patiently_send()
            for key, picture in self.pictures.items():
                if picture.moves_by_itself:
                    self.settle(key)

    def settle(self, key: str, refreshes: int = 50) -> None:
        """Refresh one picture a while without training, for what moves by itself (a t-SNE fit)."""
        self._settling[key] = refreshes
        if len(self._settling) == 1:
            thread = threading.Thread(target=self._settle, daemon=True, name="dgmlab settle")
            _settlers.add(thread)
            thread.start()

    def _settle(self):
        while self._settling and not self.run.live.training and not _ending.is_set():
            for key in list(self._settling):
                self._due[key] = 0
                self._settling[key] -= 1
                if self._settling[key] <= 0:
                    del self._settling[key]
            self._patiently_send()
        self._settling.clear()

    def _patiently_send(self):
        for _ in range(200):                    # the painter may still be busy with the last frame
            if self._send(time.monotonic()):
                return
            time.sleep(0.02)
        self._say()                             # no pictures yet, but the words

    def _send(self, now) -> bool:
        if self.painter.busy:
            return False
        with self.run.lock:
            frames = {self._key(key): picture.collect(self.run) for key, picture in self.pictures.items()
                      if now >= self._due[key]}
            self._measure_speed(now)
        for key, picture in self.pictures.items():
            if self._key(key) in frames:
                self._due[key] = now + picture.every
        try:
            if frames and not self.painter.request(frames, self._painted, self._not_painted):
                return False
            self._describe(now, frames)
        except LabError as error:               # no pictures any more; the training goes on without
            self._say(str(error))
            return True
        for control in self.controls:
            control.show()
        self._say()
        return True

    def _painted(self, images: dict[str, bytes]):
        """The painter's answer, in its reader's thread."""
        for key in self.pictures:
            content = images.get(self._key(key))
            if content:
                self.images[key].value = content
        self._frames += 1

    def _not_painted(self, errors: dict[str, str]):
        self._say(f"not drawn: {next(iter(errors.values()))}")

    def _describe(self, now, frames):
        """Say what the pictures show, for those who cannot see them; seldom while they move."""
        self._seen |= frames
        if now - self._told > TELL or not self.run.live.training:
            self._told = now
            self.words.say([f"Step {self.run.step:,}. {picture.alt(self._seen[self._key(key)])}"
                            for key, picture in self.pictures.items() if self._key(key) in self._seen])

    def _key(self, name):
        return f"{id(self)}.{name}"

    def _measure_speed(self, now):
        then, step = self._clock
        if now - then > 0.5:
            self._speed = (self.run.step - step) / (now - then)
            self._clock = (now, self.run.step)

    def _say(self, more: str | None = None):
        """Bring status and message up to date; ``more`` replaces what was said last."""
        run, live = self.run, self.run.live
        self._said = self._said if more is None else more
        if live.training:
            state = f"<b>training</b> &nbsp; {self._speed:,.0f} steps/s"
        elif live.error is not None:
            state = "<b>stopped</b>"
        elif run.step == 0:
            state = "ready: press Start"
        else:
            state = "paused" + (f": {live.why_paused}" if live.why_paused else "")
        error = "" if live.error is None else str(live.error) or repr(live.error)
        said = html.escape(error or self._said)
        colour = "color:#b00020" if error else ""
        _put(self.status, "value", f"step {run.step:,} &nbsp; {state} &nbsp; seed {run.seed} &nbsp; "
                                   f"<span style='{colour}'>{said}</span>")
        _put(self.buttons["start"], "disabled", live.training)
        _put(self.buttons["pause"], "disabled", not live.training)
        if "recover" in self.buttons and (run.step or not self.shelf.last):      # it would replace what is there
            _put(self.buttons["recover"].layout, "display", "none")

    # -- buttons -------------------------------------------------------------------------------------------------

    def _start(self):
        self._said = ""
        self.run.start()

    def _recover(self):
        self.run.pause()
        try:
            self._said = f"went on from step {self.shelf.recover():,}"
        except LabError as error:
            self._said = str(error)
        self.redraw()

    def _pause(self):
        self.run.pause()
        self.shelf.keep(math.inf)
        self.redraw()

    def _step(self):
        self.run.live.step_once()

    def _reset(self):
        self.run.pause()
        self.run.live.error = None
        self.run.reset()
        self._said = ""
        for picture in self.pictures.values():
            picture.start_anew()
        self.redraw()

    def _save(self):
        stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
        path = Path("sessions") / f"{self.name}-{stamp}.json"
        try:
            save_session(self.run, path)
            self._say(f"saved {path}")
        except LabError as error:
            self._say(str(error))


def _put(widget, trait: str, value) -> None:
    """Set a trait only where it changes: each change is a message to the page."""
    if getattr(widget, trait) != value:
        setattr(widget, trait, value)


def _forget(painter, names: list[str]) -> None:
    for name in names:
        painter.remove(name)


def button(label: str, icon: str, tooltip: str, action: Callable[[], None], style: str = "",
           width: str = "88px") -> widgets.Button:
    """A button that does something when it is pressed."""
    made = widgets.Button(description=label, icon=icon, tooltip=tooltip, button_style=style,
                          layout={"width": width, "flex": "0 0 auto"})
    made.on_click(lambda _: action())
    return made
