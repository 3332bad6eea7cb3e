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
from .painter import shared_painter
from .pictures import Picture, still
from .recovery import Shelf

REFRESH = 0.15          # seconds between two screen updates at best
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
        name: of the files that Save writes.
    """

    def __init__(self, run: Run, rows: list[dict[str, Picture]], knobs: list[str], *, schedules: dict | None = None,
                 view: list[widgets.Widget] = (), steps: int = 2000, name: str = "run"):
        check_number("The number of steps", steps, 1, whole=True)
        pause_all("a new panel was opened")
        self.run, self.name = run, name
        self.pictures = {key: picture for row in rows for key, picture in row.items()}
        self.rows, self.steps = rows, int(steps)
        run.live.goal = run.step + self.steps
        self._due = dict.fromkeys(self.pictures, 0.0)
        self._next = self._frames = 0
        self._settling: dict[str, int] = {}         # pictures that still move by themselves: refreshes left
        self._clock = (time.monotonic(), run.step)
        self._speed = 0.0
        self._said = ""
        if is_live():
            self.shelf = Shelf(run, name)
            self._build(knobs, schedules or {}, list(view))

    # -- what it looks like --------------------------------------------------------------------------------------

    def _build(self, knobs, schedules, view):
        run = self.run
        self.buttons = {
            "start": _button("Start", "play", "Train until paused", self._start, "success"),
            "pause": _button("Pause", "pause", "Stop after this step; nothing is lost", self._pause),
            "step": _button("Step", "step-forward", "Train for one step", self._step),
            "reset": _button("Reset", "undo", "Back to step 0, with the initial weights and knobs", self._reset),
            "save": _button("Save", "save", "Write the session: what was moved at which step, and the numbers",
                            self._save)}
        if self.shelf.last:
            at = f"{self.shelf.last[1]:,}"
            self.buttons["recover"] = _button(f"Go on from {at}", "history", "Go on with your last session of this "
                                              f"experiment, from step {at}", self._recover, width="170px")
        self.status = widgets.HTML(layout={"margin": "0 0 0 12px"})
        self.message = widgets.HTML(layout={"display": "none"})             # one sentence, where there is one to say
        self.controls = [KnobControl(run.knobs, name, run.live.touch, schedules.get(name)) for name in knobs]
        # Side by side at their own size where the page is wide enough, smaller where it is not.
        self.images = {key: widgets.Image(format="jpeg", layout={
                           "flex": f"{picture.size[0]} 1 0", "min_width": "0", "max_width": f"{picture.size[0]}px",
                           "height": "auto", "object_fit": "contain"})
                       for key, picture in self.pictures.items()}
        lines = [widgets.HBox([self.images[key] for key in row], layout={"align_items": "flex-start"})
                 for row in self.rows]
        wrap = {"align_items": "center", "flex_flow": "row wrap"}
        self.widget = widgets.VBox([
            widgets.HBox([*self.buttons.values(), self.status], layout=wrap), self.message,
            widgets.HBox([control.widget for control in self.controls], layout=wrap),
            *([widgets.HBox(view, layout=wrap)] if view else []), *lines])
        for widget in view:
            if hasattr(widget, "value"):
                widget.observe(lambda change: self.redraw(), "value")
        self.painter = shared_painter()
        for key, picture in self.pictures.items():
            self.painter.add(self._key(key), picture)
        weakref.finalize(self, _forget, self.painter, [self._key(key) for key in self.pictures])
        run.live.watchers = [self._watch]
        run.live.on_state = [self.redraw]
        self.redraw()

    def _ipython_display_(self):
        from IPython.display import display

        if is_live():
            display(self.widget)
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

    def settle(self, key: str, refreshes: int = 25) -> None:
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
                break
            time.sleep(0.02)

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
        _put(self.status, "value", f"step {run.step:,} &nbsp; {state} &nbsp; seed {run.seed}")
        error = "" if live.error is None else str(live.error) or repr(live.error)
        text = html.escape(error or self._said)
        _put(self.message, "value", f"<b style='color:#b00020'>{text}</b>" if error else text)
        _put(self.message.layout, "display", "" if text else "none")

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
        self.buttons["recover"].layout.display = "none"
        self.redraw()

    def _pause(self):
        self.run.pause()
        self.redraw()

    def _step(self):
        self.run.live.step_once()

    def _reset(self):
        self.run.pause()
        self.run.live.error = None
        self.run.reset()
        self._said = ""
        self.redraw()

    def _save(self):
        stamp = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
        path = Path("sessions") / f"{self.name}-{stamp}.json"
        try:
            save_session(self.run, path)
            self._say(f"saved {path}")
        except LabError as error:
            self._say(str(error))


def _put(widget, trait: str, value: str) -> None:
    """Set a trait only where it changes: each change is a message to the page."""
    if getattr(widget, trait) != value:
        setattr(widget, trait, value)


def _forget(painter, names: list[str]) -> None:
    for name in names:
        painter.remove(name)


def _button(label: str, icon: str, tooltip: str, action: Callable[[], None], style: str = "",
            width: str = "88px") -> widgets.Button:
    button = widgets.Button(description=label, icon=icon, tooltip=tooltip, button_style=style,
                            layout={"width": width, "flex": "0 0 auto"})
    button.on_click(lambda _: action())
    return button
