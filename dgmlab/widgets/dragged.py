"""Sliders and one picture, and no training: what the small widgets share that answer every move at once."""

from __future__ import annotations

import threading
from contextlib import contextmanager

import ipywidgets as widgets

from ..plots import DPI
from ..training.live import is_live
from .described import AltTexts


class Dragged:
    """A picture that follows its sliders; a notebook cell that ends with one shows it.

    A subclass makes its controls and ``self.widget`` in :meth:`build`, which is called only where a person watches; it
    shows what the controls say in :meth:`paint` and says it in words in :meth:`alt`, and leaves one picture for
    everybody else in :meth:`show_still`.
    """

    widget: widgets.Box

    def __init__(self):
        self._lock = threading.Lock()           # a figure is drawn by one thread at a time
        self._asked, self._together = 0, False
        if is_live():
            self.build()
            self._words = AltTexts(self.widget)
            self.draw()

    def build(self) -> None:
        """Make the controls, :meth:`follow` them, and put everything into ``self.widget``."""
        raise NotImplementedError

    def paint(self) -> None:
        """Read the controls and show what they say."""
        raise NotImplementedError

    def alt(self) -> str:
        """What the picture shows now, in a sentence."""
        raise NotImplementedError

    def show_still(self) -> None:
        """Show the picture as a PNG with alt text."""
        raise NotImplementedError

    def follow(self, *controls: widgets.Widget) -> None:
        """Draw anew when one of these is moved."""
        for control in controls:
            control.observe(lambda change: self.draw(), "value")

    def draw(self) -> None:
        """Show what the controls say. Of the moves that arrive while a picture is drawn, only the last is drawn."""
        if self._together:
            return
        self._asked += 1
        mine = self._asked
        with self._lock:
            if mine == self._asked:
                self.paint()
                self._words.say([self.alt()])

    @contextmanager
    def together(self):
        """Several controls are set, and drawn once at the end."""
        self._together = True
        try:
            yield
        finally:
            self._together = False
        self.draw()

    def _ipython_display_(self):
        if is_live():
            from IPython.display import display

            # Where the widget cannot be shown (a saved notebook opened again), this text stands in its place.
            bundle = self.widget._repr_mimebundle_() | {"text/plain": "The sliders. Run this cell to see them."}
            display(bundle, raw=True)
        else:
            self.show_still()


def image_of(size) -> widgets.Image:
    """An empty image on the page; ``size`` is (width, height) in screen pixels, or a figure."""
    width, height = size if isinstance(size, tuple) else (round(inches * DPI) for inches in size.get_size_inches())
    return widgets.Image(format="png", width=width, layout={"width": f"{width}px", "height": f"{height}px"})
