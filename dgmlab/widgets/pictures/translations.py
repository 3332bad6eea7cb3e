"""Images there and back again, with what a reader makes of each below."""

from __future__ import annotations

from ...plots import INK, LABEL, LINES
from .images import ImageRows

WRONG = LINES[1]
HEADS = 13                  # screen pixels that a line of texts above the columns takes


class HeadedRows(ImageRows):
    """Rows of images, as in :class:`ImageRows`, of one length, and above the columns a text each.

    Data: `rows`, and, if there are any, `heads` [text, ...], one a column.
    """

    def build(self):
        super().build()
        self.stage.heads = self._texts()

    def _texts(self):
        return [self.moves(self.stage.figure.text(0, 0, "", transform=None, fontsize=LABEL, ha="center", va="center",
                                                  color=INK), on_axes=False) for _ in range(self.columns)]

    def title_height(self):
        return super().title_height() + HEADS

    def draw(self, data):
        super().draw(data)
        mosaic, heads = self.stage.mosaic, data.get("heads", ())
        top = mosaic.oy + mosaic.get_array().shape[0] + HEADS / 2 * self.stage.pixel
        for k, text in enumerate(self.stage.heads):
            text.set_text(heads[k] if k < len(heads) else "")
            text.set_position((self.middle(k), top))

    def middle(self, column: int) -> float:
        """Where the middle of a column is, in image pixels."""
        mosaic = self.stage.mosaic
        return mosaic.ox + (column + 0.5) * mosaic.get_array().shape[1] / self.columns

    def alt(self, data):
        shown = f"rows ({', '.join(label for label, _ in data['rows'])}) of {len(data['rows'][0][1])} images"
        heads = ", ".join(filter(None, data.get("heads", ())))
        return f"{self.headline(data) or 'Images'}: {shown}{f' ({heads})' if heads else ''}."


class RoundTrips(HeadedRows):
    """Rows of images, and below the columns a text each, marked right or wrong.

    Data: `rows`, `heads`, and `read` [(text, right), ...], one a column; a wrong one is struck out as well as coloured.

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
        stage.marks = self._texts()
        stage.caption = self.moves(stage.figure.text(0, 0, self.caption, transform=None, fontsize=LABEL, va="center",
                                                     color=INK), on_axes=False)

    def draw(self, data):
        super().draw(data)
        stage = self.stage
        y = stage.mosaic.oy - 11 * stage.pixel
        stage.caption.set_position((8 * stage.pixel, y))
        for k, mark in enumerate(stage.marks):
            text, right = data["read"][k] if k < len(data["read"]) else ("", True)
            mark.set_text(text if right else f"✗ {text}")
            mark.set_color(INK if right else WRONG)
            mark.set(fontsize=LABEL + 1, fontweight="normal" if right else "bold")
            mark.set_position((self.middle(k), y))

    def _write_labels(self, labels):
        super()._write_labels(labels)                   # the caption below is no shorter than they, and must not touch
        self.stage.label_width = max(self.stage.label_width, self.text_width(self.stage.caption) / self.stage.pixel + 8)

    def alt(self, data):
        wrong = sum(not right for _, right in data["read"])
        return (f"{self.headline(data)}: rows of {len(data['rows'][0][1])} images ("
                f"{', '.join(label for label, _ in data['rows'])}); {wrong} of {len(data['read'])} translations are "
                "read as another character.")
