"""Words for the pictures of a page that changes: what a screen reader says in their place.

ipywidgets' image has no alt text, and with a tooltip it is not shown at all (8.1.9). So the words stand beside the
picture, for screen readers only; in JupyterLab as `dgmlab lab` starts it they become the pictures' alt texts as well.
"""

from __future__ import annotations

import html
from collections.abc import Sequence

import ipywidgets as widgets

UNSEEN = "position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%);margin:0;padding:0"


class AltTexts:
    """A list of what the pictures of one widget show, in their order; read aloud and not seen.

    Args:
        around: the box that holds the pictures; the list becomes its last child.
    """

    def __init__(self, around: widgets.Box):
        self.widget = widgets.HTML(layout={"height": "0px", "margin": "0px", "overflow": "hidden"})
        around.children = [*around.children, self.widget]
        around.add_class("dgmlab-described")

    def say(self, texts: Sequence[str]) -> None:
        """What the pictures show now, one text each."""
        items = "".join(f"<li>{html.escape(text)}</li>" for text in texts)
        said = f"<ul class='dgmlab-alt' aria-label='What the pictures show' style='{UNSEEN}'>{items}</ul>"
        if self.widget.value != said:
            self.widget.value = said
