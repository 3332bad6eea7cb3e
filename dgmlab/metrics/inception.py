"""The features in which FID, KID and the inception score are reported for photographs: those of the Inception network.

The network is torch-fidelity's (extra ``judge``), with the converted weights of Heusel et al. 2017; torchmetrics uses
the same. The 95 MB of weights are fetched once. With these features the Fréchet distance is FID and the kernel distance
KID; it is the custom to compute them from 10,000 to 50,000 images.
"""

from __future__ import annotations

import functools
from pathlib import Path

import torch
from torch import Tensor

from ..data.base import folder
from ..data.published import _any_answers
from ..errors import LabError, check_number

FILE = "weights-inception-2015-12-05-6726825d.pth"          # the last eight letters begin its sha256
ADDRESS = "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"


def inception_features(images: Tensor, batch: int = 50, device: str | torch.device = "cpu") -> tuple[Tensor, Tensor]:
    """The 2,048 features of the last pooling layer, and the 1,008 logits.

    Args:
        images: (N, 3, H, W), or (N, 1, H, W) for greys, from 0 to 1; they are rounded to 256 steps, as files are, and
            resized to 299 x 299 as TensorFlow does it.
        batch: how many images at a time; about 6 seconds for 50 on one core.

    Returns:
        features (N, 2048) and logits (N, 1008), on the CPU; the logits are for
        :func:`~dgmlab.metrics.features.inception_score`.

    Raises:
        LabError: images of another shape or range, torch-fidelity missing, or weights that cannot be fetched.
    """
    if images.ndim != 4 or images.shape[1] not in (1, 3) or not len(images):
        raise LabError(f"The images have the shape {tuple(images.shape)}, but (images, 3 or 1 channels, height, width) "
                       "is needed.")
    if not bool(images.isfinite().all()) or float(images.min()) < 0 or float(images.max()) > 1:
        raise LabError("The images hold numbers outside 0 to 1; scale or clamp them first.")
    check_number("The batch", batch, 1, whole=True)
    network, found = _network(weights()).to(device), []
    for part in images.split(batch):
        pixels = (part * 255).round().to(torch.uint8).expand(-1, 3, -1, -1)
        found.append([t.cpu() for t in network(pixels.to(device))])
    features, logits = zip(*found)
    return torch.cat(features), torch.cat(logits)


def weights() -> Path:
    """The file of weights under the data folder, fetched if it is not there."""
    path = folder() / "published" / "inception" / FILE
    if path.is_file():
        return path
    remedy = f"run this again when online, or put {FILE} (from torch-fidelity's releases) into {path.parent}"
    if not _any_answers((ADDRESS,)):
        raise LabError(f"The weights of the Inception network are not here and there is no network: {remedy}.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(ADDRESS + FILE, str(path), hash_prefix="6726825d", progress=True)
    except (OSError, RuntimeError) as error:                # RuntimeError: a wrong checksum
        raise LabError(f"The weights of the Inception network could not be fetched ({error}): {remedy}.") from None
    return path


@functools.lru_cache(maxsize=1)
def _network(path: Path):
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except ImportError:
        raise LabError("The Inception network comes with torch-fidelity, which is not installed: "
                       "`pip install \"dgmlab[judge]\"`.") from None
    try:
        torch.load(path, weights_only=True, map_location="cpu")     # refuses a file that holds more than tensors
        return FeatureExtractorInceptionV3("inception-v3-compat", ["2048", "logits"],
                                           feature_extractor_weights_path=str(path))
    except Exception as error:
        raise LabError(f"{path} does not hold the weights of the Inception network ({type(error).__name__}); delete it "
                       "and run this again when online.") from None
