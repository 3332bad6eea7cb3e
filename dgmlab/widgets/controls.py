"""Controls: one row a knob. A control only ever writes its knob; what the knob does is the run's business."""

from __future__ import annotations

import collections
import math
import threading
from collections.abc import Callable

import ipywidgets as widgets
import traitlets

from ..knobs import Choice, Knobs, Real, Switch, Whole
from ..schedules import Schedule, cyclical, monotonic

LABEL = {"description_width": "150px"}
BY_HAND = "by hand"


class KnobControl:
    """A slider, menu or box linked to one knob, with a menu of schedules beside it.

    Args:
        knobs: the run's knobs.
        name: which one.
        touched: called at every move by hand.
        schedules: what the menu offers besides the hand, by label: functions of the present step that make a
            :class:`~dgmlab.schedules.Schedule`. None leaves the menu out.
    """

    def __init__(self, knobs: Knobs, name: str, touched: Callable[[], None],
                 schedules: dict[str, Callable[[], Schedule]] | None = None):
        self.knobs, self.name, self.touched, self.schedules = knobs, name, touched, schedules or {}
        self._showing: int | None = None        # the thread that is changing the widgets to follow the knob
        self._shown: collections.deque = collections.deque(maxlen=3)        # what was shown of late
        self.input = _input_for(knobs.traits()[name], getattr(knobs, name))
        self.input.observe(self._moved, "value")
        knobs.observe(self._follow, name)
        parts = [self.input]
        if self.schedules:
            self.mover = widgets.Dropdown(options=[BY_HAND, *self.schedules], value=BY_HAND, description="moved",
                                          tooltip=f"What moves {name}: your hand or a schedule",
                                          style={"description_width": "initial"}, layout={"width": "230px"})
            self.mover.observe(self._chosen, "value")
            parts.append(self.mover)
        self.widget = widgets.HBox(parts, layout={"align_items": "center"})

    def show(self) -> None:
        """Bring the widgets up to date with the knob: a schedule moves it without telling anybody."""
        self._show(getattr(self.knobs, self.name))
        if self.schedules and self.name not in self.knobs.schedules and not self.knobs._pending:
            self._quietly(self.mover, BY_HAND)

    # Callbacks may arrive on the main thread or on a subshell's; those caused by show() arrive on the thread that
    # called it, and are told apart by it.

    def _moved(self, change):
        if self._showing != threading.get_ident():
            if self._is_echo(change["new"]):
                return
            self.touched()
            setattr(self.knobs, self.name, change["new"])
            if self.schedules:
                self._quietly(self.mover, BY_HAND)

    def _is_echo(self, value) -> bool:
        """Whether the page only sends back what has just been shown there: the value of a schedule, or one that does
        not lie on a step of the slider, as a cell or a replay may set it, rounded to the nearest."""
        driven = self.name in self.knobs.schedules
        for shown in self._shown:
            if driven and (value == shown or isinstance(value, float) and abs(value - shown) < 1e-6):
                return True
            if isinstance(self.input, widgets.FloatSlider):
                nearest = self._on_a_step(shown)
                if abs(shown - nearest) > 1e-6 * self.input.step > abs(value - nearest):
                    return True
        return False

    def _on_a_step(self, value: float) -> float:
        slider = self.input
        return round(slider.min + round((value - slider.min) / slider.step) * slider.step, 9)

    def _chosen(self, change):
        if self._showing == threading.get_ident():
            return
        self.touched()
        if change["new"] == BY_HAND:
            self.knobs.release(self.name)
        else:
            self.knobs.drive(self.name, self.schedules[change["new"]]())

    def _follow(self, change):
        self._show(change["new"])

    def _show(self, value):
        if isinstance(self.input, widgets.FloatSlider | widgets.IntSlider):     # a value beyond the slider widens it
            self.input.max, self.input.min = max(self.input.max, value), min(self.input.min, value)
            if self.name in self.knobs.schedules:
                # In whole steps of the slider: the page would round any other value and send it back, as if by hand.
                value = self._on_a_step(value)
        elif isinstance(self.input, widgets.SelectionSlider):
            on = [v for _, v in self.input.options]
            if self.name in self.knobs.schedules:       # as above: the nearest of the slider's values
                value = min(on, key=lambda v: abs(math.log(max(v, 1e-300) / max(value, 1e-300))))
            elif value not in on:
                self._quietly(self.input, _options([*on, value]), "options")        # which selects the first of them
        elif isinstance(self.input, widgets.ToggleButtons) and value not in self.input.options:
            # A panel may offer only some of the choices.
            self._quietly(self.input, (*self.input.options, value), "options")
        self._shown.append(value)
        self._quietly(self.input, value)

    def _quietly(self, widget, value, trait: str = "value"):
        before, self._showing = self._showing, threading.get_ident()
        try:
            setattr(widget, trait, value)
        finally:
            self._showing = before


def kl_schedules(steps: int, now: Callable[[], int]) -> dict[str, Callable[[], Schedule]]:
    """The two ways to anneal a KL weight, beginning at the present step and ending ``steps`` later."""
    return {"rises once": lambda: Schedule(**monotonic(steps).to_dict() | {"begin": now()}),
            "4 cycles": lambda: Schedule(**cyclical(steps).to_dict() | {"begin": now()})}


def _input_for(trait: traitlets.TraitType, value):
    common = dict(value=value, description=trait.title, tooltip=trait.help_text or trait.label, style=LABEL,
                  layout={"width": "460px"})
    if isinstance(trait, Switch):
        return widgets.Checkbox(**common)
    if isinstance(trait, Choice):
        return widgets.ToggleButtons(options=list(trait.values), **common)
    low, high = trait.slider
    if isinstance(trait, Whole):
        return widgets.IntSlider(min=min(low, value), max=max(high, value), **common)
    assert isinstance(trait, Real)
    if trait.log:
        # A row of round values, by keyboard or mouse; a logarithmic slider would pass over 0.001 at 0.00100000002.
        return widgets.SelectionSlider(options=_options(_round_values(low, high) + [value]), **common)
    return widgets.FloatSlider(min=min(low, value), max=max(high, value), step=(high - low) / 160,
                               readout_format=".2f", **common)


def _options(values: list[float]) -> list[tuple[str, float]]:
    return [(f"{v:g}", v) for v in sorted(set(values))]


def _round_values(low: float, high: float) -> list[float]:
    """1, 2, 5 times the powers of ten from low to high."""
    values = [float(f"{m}e{e}") for e in range(-9, 4) for m in (1, 2, 5)]
    return [v for v in values if low <= v <= high]
