"""Published collections of photographs in two styles: horses and zebras, aerial photographs and maps.

They are those of Zhu, Park, Isola & Efros 2017 (arXiv:1703.10593): one archive each, with the folders trainA, trainB,
testA and testB. They are kept under ``folder()/published`` as they were published; an archive or folders that were put
there by hand are as good as fetched ones. How a transfer is made, see :mod:`dgmlab.data.published`.

Sizes and checksums of the archives are those that TensorFlow Datasets records for them.
"""

from __future__ import annotations

import contextlib
import zipfile
from dataclasses import dataclass
from pathlib import Path

from ..errors import LabError, check_number
from .base import complaint, folder
from .published import Source, transfer
from .style_pairs import Pairs, Styles, read_images

FOLDERS = ("trainA", "trainB", "testA", "testB")


@dataclass(frozen=True)
class PublishedStyles:
    """Two published collections.

    Attributes:
        place: the folder under ``folder()/published``.
        sources: the archive as it is fetched.
        mirrors: addresses to which its name is appended.
        sides: what X and Y are.
        counts: images in the four folders.
        side: of each image, in pixels.
        paired: whether image k of one side shows what image k of the other does.
    """

    name: str
    title: str
    place: str
    sources: tuple[Source, ...]
    mirrors: tuple[str, ...]
    sides: tuple[str, str]
    counts: tuple[int, int, int, int]
    side: int
    paired: bool
    about: str
    licence: str

    @property
    def folder(self) -> Path:
        return folder() / "published" / self.place


_MIRRORS = ("https://efrosgans.eecs.berkeley.edu/cyclegan/datasets/",
            "https://people.eecs.berkeley.edu/~taesung_park/CycleGAN/datasets/")
PUBLISHED = {record.name: record for record in (
    PublishedStyles(
        "horse2zebra", "horse2zebra", "horse2zebra",
        (Source("horse2zebra.zip", 116867962, "",
                sha256="a74d9d392eecca9966b51287a76ca126af473d9de4f3e8fc0e9cda08fa1730a1"),),
        _MIRRORS, ("horses", "zebras"), (1067, 1334, 120, 140), 256, False,
        "2,661 photographs of horses and of zebras, 256 x 256 pixels (Zhu et al. 2017, from ImageNet).",
        "ImageNet's terms (research, non-commercial)"),
    PublishedStyles(
        "maps", "maps", "maps",
        (Source("maps.zip", 1476754427, "",
                sha256="639534f69dbf9f36bef8d6292a7698006361221f83f0285d7c9ca78afe6e8a9e"),),
        _MIRRORS, ("aerial photographs", "maps"), (1096, 1096, 1098, 1098), 600, True,
        "4,388 aerial photographs and maps of the same places, 600 x 600 pixels (Zhu et al. 2017, from Google Maps).",
        "none stated; the images are Google's"),
)}


def load(name: str, download: bool = True, size: int | None = None) -> Styles:
    """A published pair of collections, fetched first if it is not there and ``download`` is true.

    Args:
        size: side of the square to which each image is resized; None for 256.

    Returns:
        Images as bytes (N, 3, size, size). Of ``maps`` the truth is known (``pairs["test"]``, ``truth_x``), because its
        images are paired by their numbers; a translator that is not told so does not know.

    Raises:
        LabError: it is neither there nor to be had, or is not what was published.
    """
    import torch

    record, size = PUBLISHED[name], 256 if size is None else size
    check_number("The side of an image in pixels", size, 8, 1024, whole=True)
    if missing(record):
        if not download:
            raise LabError(f"{record.title} is not downloaded: {_remedy(record)}.")
        fetch(name)
    with _images(record) as folders:
        arrays = [torch.from_numpy(read_images(files, size, (record.side, record.side))) for files in folders]
    train_x, train_y, test_x, test_y = arrays
    paired = {}
    if record.paired:
        paired = {"truth_x": train_y, "truth_y": train_x,
                  "pairs": {"test": Pairs(test_x.float() / 255, test_y.float() / 255)}}
    return Styles(name, record.sides, train_x, train_y, test_x, test_y, record.about, record.licence, **paired)


def missing(record: PublishedStyles) -> list[Source]:
    """The archive, if it is still to be fetched."""
    if all((record.folder / part).is_dir() for part in FOLDERS) or (record.folder / record.sources[0].name).is_file():
        return []
    return list(record.sources)


def fetch(name: str) -> None:
    """Fetch the archive if it is not there; a broken-off transfer goes on where it stopped.

    Raises:
        LabError: no network, a server's refusal, or bytes with the wrong checksum.
    """
    transfer(PUBLISHED[name], missing(PUBLISHED[name]))


def check(name: str) -> list[tuple[Path, str, str]]:
    """What is there, what is wrong with it ("" if nothing is), and what is right with it."""
    record = PUBLISHED[name]
    archive = record.folder / record.sources[0].name
    if archive.is_file():
        return [(archive, complaint(_check, record, archive), f"{archive.name} has the right checksum")]
    if missing(record):
        return []

    def count():
        with _images(record):
            pass

    return [(record.folder, complaint(count), f"{record.folder.name} holds as many images as were published (no "
                                              "checksum is published for it unpacked)")]


def _check(record: PublishedStyles, archive: Path) -> None:
    if not record.sources[0].is_right(archive):
        raise LabError(f"The checksum of {archive} is wrong, so it is not the published file: delete it; then "
                       f"{_remedy(record)}.")


@contextlib.contextmanager
def _images(record: PublishedStyles):
    """The image files of the four folders, unpacked if they are there so, else out of the archive; in the order of the
    numbers in their names. Their counts are checked."""
    if all((record.folder / part).is_dir() for part in FOLDERS):
        found = [sorted((path for path in (record.folder / part).iterdir() if path.suffix == ".jpg"), key=_order)
                 for part in FOLDERS]
        _count(record, found, record.folder)
        yield found
        return
    path = record.folder / record.sources[0].name
    _check(record, path)
    try:
        with zipfile.ZipFile(path) as archive:
            names = [Path(name) for name in archive.namelist() if name.endswith(".jpg")]
            found = [sorted((name for name in names if name.parent.name == part), key=_order) for part in FOLDERS]
            _count(record, found, path)
            yield [(archive.open(name.as_posix()) for name in part) for part in found]
    except zipfile.BadZipFile:
        raise LabError(f"{path} is not a zip archive: delete it; then {_remedy(record)}.") from None


def _order(path: Path):
    digits = "".join(c for c in path.stem if c.isdigit())
    return int(digits or 0), path.name


def _count(record, found, where):
    counts = tuple(map(len, found))
    if counts != record.counts:
        told = ", ".join(f"{n:,} in {part}" for n, part in zip(counts, FOLDERS))
        raise LabError(f"{where} holds {told} images, but {record.title} has "
                       f"{', '.join(f'{n:,}' for n in record.counts)}: delete it; then {_remedy(record)}.")


def _remedy(record: PublishedStyles) -> str:
    return (f"run `dgmlab data fetch {record.name}` when online, or put {record.sources[0].name} (or its folders "
            f"{', '.join(FOLDERS)}) into {record.folder}")
