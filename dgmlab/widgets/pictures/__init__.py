"""The pictures of a live panel: what each collects from a run, and how it is drawn ten times a second.

A picture has two halves. In the kernel, `collect(run)` calls the lab's `source` function and returns a small dict of
numpy arrays. In the painter process (painter.py), or right here when nobody watches, `render(data)` draws it:
artists are made once and updated in place, everything that seldom changes (frame, ticks, title) is kept as a
background, and only lines, points and images are drawn anew. That is a few milliseconds instead of fifty.

    curves = Curves(lambda run: {"steps": run.history.steps, "values": {"KL": run.history.column("kl")}},
                    title="Raise the KL weight: KL falls, reconstruction pays", unit="nats per image")
    data = curves.collect(run)
    curves.render(data)            # JPEG bytes, twice as many pixels as `size`
    curves.alt(data)               # "Loss terms over 1,240 steps: KL falls from 8.1 to 2.9 nats per image."
"""

from .bars import Bars
from .base import Picture, blank, compose, still
from .images import ImageRows
from .maps import MAPS, LatentMap
from .series import Curves, Trace
from .strips import Strips

__all__ = ["MAPS", "Bars", "Curves", "ImageRows", "LatentMap", "Picture", "Strips", "Trace", "blank", "compose",
           "still"]
