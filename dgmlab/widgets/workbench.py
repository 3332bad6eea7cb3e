"""A workbench: menus that decide what is built, and below them the panel of what they chose.

A knob changes a run while it trains; how many images there are, or how wide a network is, cannot be changed in a run
that exists. Changing such a choice makes a new run, in the same place on the page, and lets it train if the one before
was training, or had paused by itself.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence

import ipywidgets as widgets

from ..errors import LabError
from ..training.live import is_live, pause_all
from .panel import Panel


class Workbench:
    """Choices, what they mean in one line, and the panel that they make. A cell that ends with it shows it.

    Args:
        choices: for each argument of ``build``, its label and what can be chosen: [(text, value), ...].
        start: the value of each choice at the beginning; one that is not on offer is added.
        build: makes the panel from the choices, given by name.
        about: one line of HTML on what was chosen, from the panel; shown between the choices and the panel.

    Attributes:
        panel, run: what is there now.
    """

    def __init__(self, choices: Mapping[str, tuple[str, Sequence[tuple[str, object]]]], start: Mapping[str, object],
                 build: Callable[..., Panel], about: Callable[[Panel], str] = lambda panel: ""):
        if set(choices) != set(start):
            raise LabError(f"The workbench offers the choices {sorted(choices)}, but starts with {sorted(start)}; give "
                           "each choice a start.")
        self.build, self.about = build, about
        self.panel = build(**start)
        if is_live():
            self._build(choices, start)

    @property
    def run(self):
        return self.panel.run

    def _build(self, choices, start):
        self._lock = threading.Lock()           # one panel is made at a time
        self.choices = {}
        for name, (label, options) in choices.items():
            options = list(options)
            if start[name] not in [value for _, value in options]:
                options = sorted([*options, (f"{start[name]:,}", start[name])], key=lambda option: option[1])
            self.choices[name] = widgets.ToggleButtons(options=options, value=start[name], tooltip=label,
                                                       style={"button_width": "74px"})
            self.choices[name].observe(self._chosen, "value")
        rows = [widgets.HBox([widgets.Label(choices[name][0], layout={"width": "210px"}), choice],
                             layout={"align_items": "center"}) for name, choice in self.choices.items()]
        self.line = widgets.HTML(self.about(self.panel), layout={"margin": "2px"})
        self.place = widgets.VBox([self.panel.widget])
        self.widget = widgets.VBox([*rows, self.line, self.place])

    def _ipython_display_(self):
        if is_live():
            from IPython.display import display

            bundle = self.widget._repr_mimebundle_() | {"text/plain": "The live workbench. Run this cell to see it."}
            display(bundle, raw=True)
        else:
            self.panel._ipython_display_()

    def choose(self, **values) -> None:
        """Set choices from a cell; the buttons follow."""
        for name, value in values.items():
            if name not in self.choices:
                raise LabError(f"There is no choice {name!r}; the choices are: {', '.join(self.choices)}.")
            self.choices[name].value = value

    def _chosen(self, change):
        with self._lock:
            training = self.run.live.training or self.run.live.rests
            pause_all("another choice was made")
            self.panel = self.build(**{name: choice.value for name, choice in self.choices.items()})
            self.line.value = self.about(self.panel)
            self.place.children = [self.panel.widget]
            if training:
                self.run.start()
