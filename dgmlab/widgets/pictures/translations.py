"""Images there and back again, with what a reader makes of each below."""

from __future__ import annotations

from ...plots import INK, LABEL, LINES
from .images import ImageRows

WRONG = LINES[1]


class RoundTrips(ImageRows):
    """Rows of images, as in :class:`ImageRows`, and below the columns a text each, marked right or wrong.

    Data: `rows`, and `read` [(text, right), ...], one a column; a wrong one is struck out as well as coloured.

    Args:
        caption: what the texts are, on their left.
    """

    needs = ("rows", "read")

    def __init__(self, source=None, *, caption: str = "read as", **options):
        super().__init__(source, **options)
        self.caption = caption

    def build(self):
        super().build()
        self.x = " "                                    # keeps a line free below the images
        stage = self.stage
        stage.marks = [self.moves(stage.figure.text(0, 0, "", transform=None, fontsize=LABEL + 1, ha="center",
                                                    va="center", color=INK), on_axes=False)
                       for _ in range(self.columns)]
        stage.caption = self.moves(stage.figure.text(0, 0, self.caption, transform=None, fontsize=LABEL, va="center",
                                                     color=INK), on_axes=False)

    def draw(self, data):
        super().draw(data)
        stage = self.stage
        whole = stage.mosaic.get_array()
        step, y = whole.shape[1] / self.columns, stage.mosaic.oy - 11 * stage.pixel
        stage.caption.set_position((8 * stage.pixel, y))
        for k, mark in enumerate(stage.marks):
            text, right = data["read"][k] if k < len(data["read"]) else ("", True)
            mark.set_text(text if right else f"✗ {text}")
            mark.set_color(INK if right else WRONG)
            mark.set_fontweight("normal" if right else "bold")
            mark.set_position((stage.mosaic.ox + (k + 0.5) * step, y))

    def alt(self, data):
        wrong = sum(not right for _, right in data["read"])
        return (f"{self.headline(data)}: rows of {len(data['rows'][0][1])} images ("
                f"{', '.join(label for label, _ in data['rows'])}); {wrong} of {len(data['read'])} translations are "
                "read as another character.")
