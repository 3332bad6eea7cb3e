"""Published images: MNIST, Fashion-MNIST, CIFAR-10 and CIFAR-100.

They are kept under ``folder()/published`` as they were published, where torchvision keeps them too, and are read by
the few lines below, which unpickle nothing. Files that were put there by hand, packed or unpacked, are as good as
fetched ones. A transfer goes to a ``.part`` file, goes on where it broke off, and is renamed when its checksum is
right. If the usual addresses fail, those that torchvision knows (extra ``hub``) are tried.
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import http.client
import queue
import socket
import ssl
import tarfile
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import LabError
from .base import Dataset, Frozen, complaint, folder

PATIENCE = 1.5      # seconds for a first answer; after that there is taken to be no network


@dataclass(frozen=True)
class Source:
    """A file that is published: its name, its size in bytes and its md5 (that is what their authors published).

    ``unpacked_sha256`` holds, where it is known, for the file without its ``.gz``; ``sha256`` stands in the place of an
    md5 that is not known.
    """

    name: str
    size: int
    md5: str
    unpacked_sha256: str = ""
    sha256: str = ""

    def is_right(self, path: Path) -> bool:
        """Whether the file at ``path`` is, byte by byte, the published one."""
        return digest(path, "sha256") == self.sha256 if self.sha256 else digest(path, "md5") == self.md5


@dataclass(frozen=True)
class Published:
    """A published data set.

    Attributes:
        place: its folder under ``folder()/published``.
        sources: its files as they are fetched.
        mirrors: addresses to which a file's name is appended, tried in this order.
        shape: (C, H, W) of an image.
        counts: sizes of the three splits; validation is the last part of what is published for training.
    """

    name: str
    title: str
    place: str
    sources: tuple[Source, ...]
    mirrors: tuple[str, ...]
    shape: tuple[int, int, int]
    counts: tuple[int, int, int]
    classes: tuple[str, ...]
    about: str
    licence: str

    @property
    def folder(self) -> Path:
        return folder() / "published" / self.place


def _idx(*files: tuple) -> tuple[Source, ...]:
    names = ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz",
             "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz")
    return tuple(Source(name, *file) for name, file in zip(names, files, strict=True))


PUBLISHED = {record.name: record for record in (
    Published(
        "mnist", "MNIST", "MNIST/raw",
        _idx((9912422, "f68b3c2dcbeaaa9fbdd348bbdeb94873",
              "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"),
             (28881, "d53e105ee54ea40749a09fcbcd1e9432",
              "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"),
             (1648877, "9fb629c4189551a2d022fa330f9573f3",
              "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"),
             (4542, "ec29112dd5afa0611ce80d1b7f02629c",
              "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2")),
        ("https://ossci-datasets.s3.amazonaws.com/mnist/", "http://yann.lecun.com/exdb/mnist/"),
        (1, 28, 28), (55_000, 5_000, 10_000), tuple("0123456789"),
        "70,000 handwritten digits of 28 x 28 pixels (LeCun, Cortes, Burges).", "CC BY-SA 3.0"),
    Published(
        "fashion", "Fashion-MNIST", "FashionMNIST/raw",
        _idx((26421880, "8d4fb7e6c68d591d4c3dfef9ec88bf0d"), (29515, "25c81989df183df01b3e8a0aad5dffbe"),
             (4422102, "bef4ecab320f06d8554ea6380940ec79"), (5148, "bb300cfdad3c16e7a12a480ee83cd310")),
        ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
        (1, 28, 28), (55_000, 5_000, 10_000),
        ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
        "70,000 pictures of clothes of 28 x 28 pixels (Xiao, Rasul, Vollgraf 2017).", "MIT"),
    Published(
        "cifar10", "CIFAR-10", "cifar-10-batches-bin",
        (Source("cifar-10-binary.tar.gz", 170052171, "c32a1d4ab5d03f1284b67883e8d87530"),),
        ("https://www.cs.toronto.edu/~kriz/",),
        (3, 32, 32), (45_000, 5_000, 10_000),
        ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
        "60,000 colour photographs of 32 x 32 pixels in 10 classes (Krizhevsky 2009).",
        "none stated; for research, cite Krizhevsky 2009"),
    Published(
        "cifar100", "CIFAR-100", "cifar-100-binary",
        (Source("cifar-100-binary.tar.gz", 168513733, "03b5dce01913d631647c71ecec9e9cb8"),),
        ("https://www.cs.toronto.edu/~kriz/",),
        (3, 32, 32), (45_000, 5_000, 10_000), (),       # the names of its 100 classes come with the images
        "60,000 colour photographs of 32 x 32 pixels in 100 classes (Krizhevsky 2009).",
        "none stated; for research, cite Krizhevsky 2009"),
)}


def load(name: str, download: bool = True) -> Dataset:
    """A published data set by name, fetched first if it is not there and ``download`` is true.

    Raises:
        LabError: it is neither there nor to be had, or a file of it is wrong.
    """
    record = PUBLISHED[name]
    if missing(record):
        if not download:
            raise LabError(f"{record.title} is not downloaded: {_remedy(record)}.")
        fetch(name)
    frozen, classes = _frozen(record, record.folder)
    return Dataset(name, *frozen.splits(), classes=classes, about=record.about, licence=record.licence)


# -- reading -----------------------------------------------------------------------------------------------------

def _find(record: Published, source: Source) -> Path | None:
    """The file, unpacked if it is there so, else packed."""
    unpacked = record.folder / source.name.removesuffix(".gz")
    return next((path for path in (unpacked, record.folder / source.name) if path.is_file()), None)


def missing(record: Published) -> list[Source]:
    """The files that are still to be fetched."""
    if not _is_idx(record) and all((record.folder / part).is_file() for part in _binaries(record)):
        return []
    return [source for source in record.sources if not _find(record, source)]


def _is_idx(record: Published) -> bool:
    return record.sources[0].name.endswith("ubyte.gz")


def _binaries(record: Published) -> list[str]:
    """CIFAR's files inside the archive: images for training, for testing, and CIFAR-100's names of the classes."""
    if record.name == "cifar10":
        return [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]
    return ["train.bin", "test.bin", "fine_label_names.txt"]


@functools.lru_cache(maxsize=2)
def _frozen(record: Published, place: Path) -> tuple[Frozen, tuple[str, ...]]:
    x, y, classes = _read_idx(record) if _is_idx(record) else _read_cifar(record)
    if len(x) != len(y) or len(x) != sum(record.counts) or x.shape[1:] != record.shape or y.max() >= len(classes):
        raise LabError(f"The files in {place} hold {len(x):,} images of shape {x.shape[1:]} and {len(y):,} labels up "
                       f"to {y.max()}, not {record.title}'s {sum(record.counts):,} of shape {record.shape}: delete "
                       f"them; then {_remedy(record)}.")
    return Frozen(x, y, record.counts), classes


def _read_idx(record: Published):
    paths = [_find(record, source) for source in record.sources]
    for path, source in zip(paths, record.sources, strict=True):
        _check(record, path, source)
    train_x, train_y, test_x, test_y = (read_idx(path) for path in paths)
    return np.concatenate([train_x, test_x])[:, None], np.concatenate([train_y, test_y]), record.classes


def read_idx(path: Path) -> np.ndarray:
    """A file of unsigned bytes in the idx format, plain or ``.gz``.

    The format: two zero bytes, the type (8: unsigned byte), the number of dimensions, each dimension's size as a
    big-endian 32-bit number, then the bytes, the last dimension running fastest.
    """
    try:
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, gzip.zlib.error):
        raise LabError(f"{path} cannot be unpacked; delete it and fetch it again.") from None
    if len(data) < 4 or data[:3] != b"\0\0\x08" or len(data) < 4 + 4 * data[3]:
        raise LabError(f"{path} is not an idx file of bytes; delete it and fetch it again.")
    shape = tuple(np.frombuffer(data, ">u4", data[3], 4).tolist())
    start = 4 + 4 * data[3]
    if len(data) - start != int(np.prod(shape)):
        raise LabError(f"{path} is {len(data):,} bytes long, but its header announces "
                       f"{start + int(np.prod(shape)):,}; delete it and fetch it again.")
    return np.frombuffer(data, np.uint8, offset=start).reshape(shape)


def _read_cifar(record: Published):
    """CIFAR's binary version: for each image a byte for its label (CIFAR-100: coarse, fine), then 3 x 32 x 32 bytes."""
    data = _cifar_bytes(record)
    labels = 1 if record.name == "cifar10" else 2
    classes = record.classes or tuple(data.pop("fine_label_names.txt").decode().split())
    for part, content in data.items():
        if len(content) % (labels + 3072):
            raise LabError(f"{part} of {record.title} is {len(content):,} bytes long, which is not a whole number of "
                           f"images: delete it; then {_remedy(record)}.")
    rows = np.frombuffer(b"".join(data.values()), np.uint8).reshape(-1, labels + 3072)
    return np.ascontiguousarray(rows[:, labels:]).reshape(-1, *record.shape), rows[:, labels - 1].copy(), classes


def _cifar_bytes(record: Published) -> dict[str, bytes]:
    parts = _binaries(record)
    if all((record.folder / part).is_file() for part in parts):
        return {part: (record.folder / part).read_bytes() for part in parts}
    source = record.sources[0]
    _check(record, record.folder / source.name, source)
    try:
        with tarfile.open(record.folder / source.name) as archive:
            return {part: archive.extractfile(f"{record.place}/{part}").read() for part in parts}
    except (KeyError, OSError, EOFError, tarfile.TarError):
        raise LabError(f"{record.folder / source.name} is not the binary version of {record.title}: delete it; "
                       f"then {_remedy(record)}.") from None


# -- checking ----------------------------------------------------------------------------------------------------

def digest(path: Path, kind: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, kind).hexdigest()


def _check(record: Published, path: Path, source: Source) -> None:
    if path.name == source.name:
        right = source.is_right(path)
        if not right and source.unpacked_sha256:        # packed anew, by somebody else: what is inside counts
            try:
                right = hashlib.sha256(gzip.decompress(path.read_bytes())).hexdigest() == source.unpacked_sha256
            except (OSError, EOFError, gzip.zlib.error):
                right = False
    else:
        right = not source.unpacked_sha256 or digest(path, "sha256") == source.unpacked_sha256
    if not right:
        raise LabError(f"The checksum of {path} is wrong, so it is not the published file: delete it; then "
                       f"{_remedy(record)}.")


def check(name: str) -> list[tuple[Path, str, str]]:
    """Every file of the data set that is there, what is wrong with it ("" if nothing is), and what is right with it."""
    record = PUBLISHED[name]
    checksum, layout = "{} has the right checksum", "{} has the right layout (no checksum is published for it unpacked)"
    found = []
    for source in record.sources:
        if path := _find(record, source):
            def both(path=path, source=source):
                _check(record, path, source)
                if _is_idx(record):
                    read_idx(path)
            known = path.name == source.name or source.unpacked_sha256
            found.append((path, complaint(both), (checksum if known else layout).format(path.name)))
    if not found and not missing(record):
        found.append((record.folder, complaint(_read_cifar, record), layout.format(record.folder.name)))
    return found


def _remedy(record: Published) -> str:
    names = ", ".join(source.name for source in record.sources)
    return f"run `dgmlab data fetch {record.name}` when online, or put {names} into {record.folder}"


# -- fetching ----------------------------------------------------------------------------------------------------

def fetch(name: str) -> None:
    """Fetch what is missing of a published data set; broken-off transfers go on where they stopped.

    Raises:
        LabError: no network (within two seconds), a server's refusal, or bytes with the wrong checksum.
    """
    record = PUBLISHED[name]
    transfer(record, missing(record))


def transfer(record: Published, wanted: list[Source]) -> None:
    """Fetch some files of a data set; see :func:`fetch`."""
    from filelock import FileLock, Timeout

    if not wanted:
        return
    if not _any_answers(record.mirrors):
        raise LabError(f"{record.title} is not downloaded and there is no network: {_remedy(record)}.")
    try:
        record.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(record.folder / ".lock", timeout=0):
            for source in wanted:
                _fetch_file(record, source)
    except Timeout:
        raise LabError(f"{record.title} is being downloaded by another process; wait until it is done.") from None
    except OSError as error:
        raise LabError(f"{record.title} cannot be kept in {record.folder} ({error.strerror or error}); make room or "
                       "set DGMLAB_DATA to a folder that can be written to.") from None


def _any_answers(addresses: tuple[str, ...]) -> bool:
    """Whether any of the servers (or the proxy in front of it) accepts a connection within :data:`PATIENCE`.

    Name look-up knows no time limit of its own, so each server is tried in a thread that may be left behind.
    """
    answers = queue.SimpleQueue()

    def knock(address):
        url = urllib.parse.urlsplit(address)
        if not urllib.request.proxy_bypass(url.hostname):
            proxy = urllib.request.getproxies().get(url.scheme)
            url = urllib.parse.urlsplit(proxy) if proxy else url
        try:
            port = url.port or (443 if url.scheme == "https" else 80)
            socket.create_connection((url.hostname, port), timeout=PATIENCE).close()
            answers.put(True)
        except OSError:
            answers.put(False)

    for address in addresses:
        threading.Thread(target=knock, args=(address,), daemon=True).start()
    deadline = time.monotonic() + PATIENCE
    try:
        return any(answers.get(timeout=max(0, deadline - time.monotonic())) for _ in addresses)
    except queue.Empty:
        return False


def _fetch_file(record: Published, source: Source) -> None:
    part = record.folder / f"{source.name}.part"
    reasons = []
    for mirrors in (lambda: record.mirrors, lambda: _torchvision_mirrors(record)):
        for mirror in mirrors():
            if reason := _transfer(mirror + source.name, part, source):
                reasons.append(f"{urllib.parse.urlsplit(mirror).hostname}: {reason}")
            else:
                part.replace(record.folder / source.name)
                return
    kept = ""
    if part.exists():
        kept = f"; {part.stat().st_size:,} of {source.size:,} bytes are kept for the next try"
    newer = "; if the addresses have moved, `pip install \"dgmlab[hub]\"` brings newer ones"
    newer = newer if record.name in PUBLISHED else ""
    raise LabError(f"{source.name} of {record.title} could not be downloaded ({'; '.join(reasons)}{kept}): "
                   f"{_remedy(record)}{newer}.")


def _transfer(address: str, part: Path, source: Source) -> str:
    """Append to ``part`` what it lacks of the file at ``address``. Returns why it is not whole and right, or ""."""
    have = part.stat().st_size if part.exists() else 0
    if have < source.size:
        try:
            _append(address, part, have, source)
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError, ssl.SSLError) as error:
            return str(getattr(error, "reason", "") or error)
        have = part.stat().st_size
    if 0 < have < source.size:
        return "broke off"
    if source.is_right(part):
        return ""
    part.unlink()
    return "wrong checksum"


def _append(address: str, part: Path, have: int, source: Source) -> None:
    from tqdm import tqdm

    request = urllib.request.Request(address, headers={"Range": f"bytes={have}-"} if have else {})
    with urllib.request.urlopen(request, timeout=20) as reply:
        if reply.status != 206:     # the server does not know how to go on and sends everything again
            have = 0
        with part.open("ab" if have else "wb") as file, \
                tqdm(total=source.size, initial=have, unit="B", unit_scale=True, desc=source.name, leave=False,
                     disable=None) as bar:
            while block := reply.read(1 << 18):
                file.write(block)
                bar.update(len(block))


def _torchvision_mirrors(record: Published) -> list[str]:
    """The addresses that the installed torchvision knows beyond ours; none where it is not installed."""
    if record.name not in PUBLISHED:
        return []
    try:
        from torchvision import datasets
    except (ImportError, RuntimeError):     # RuntimeError: a torchvision built for another torch
        return []
    if _is_idx(record):
        mirrors = {"mnist": datasets.MNIST, "fashion": datasets.FashionMNIST}[record.name].mirrors
    else:
        url = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[record.name].url
        mirrors = [url.rsplit("/", 1)[0] + "/"]
    return [mirror for mirror in mirrors if mirror not in record.mirrors]
