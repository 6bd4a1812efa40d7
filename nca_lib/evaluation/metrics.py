"""Metrics: how good grown pictures are, one by one and as a set.

Pixel accuracy is flattered by the background (an all-black digit has 87 %), so ink IoU, SSIM and
the classifier are reported with it.
"""

from __future__ import annotations

from nca_lib.classifier import FEATURES, Classifier
from nca_lib.data.dataset import Pictures

import torch
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio as psnr
from torchmetrics.functional.image import structural_similarity_index_measure as ssim
from torchmetrics.image.fid import FrechetInceptionDistance

BATCH = 250
NEIGHBOURS = 5  # of coverage and density (Naeem et al., 2020)


def pixel_accuracy(grown: Tensor, images: Tensor) -> float:
    """Share of pixels (of each channel) on the right side of 0.5. Both `[N, I, H, W]`."""
    return ((grown > 0.5) == (images > 0.5)).double().mean().item()


def ink_iou(grown: Tensor, images: Tensor) -> float:
    """Ink in both over ink in either, mean over the pictures. Two empty pictures agree: 1."""
    a, b = (grown > 0.5).flatten(1), (images > 0.5).flatten(1)
    either = (a | b).sum(1)
    shares = torch.where(either > 0, (a & b).sum(1).double() / either.clamp(min=1), 1.0)
    return shares.mean().item()


def squared_error(grown: Tensor, images: Tensor) -> float:
    """Mean over all pixels and channels. Both `[N, I, H, W]`."""
    return (grown.clamp(0, 1) - images).square().double().mean().item()


@torch.no_grad()
def classify(classifier: Classifier, images: Tensor) -> tuple[Tensor, Tensor]:
    """Predicted labels `[N]` and features `[N, 64]` of images `[N, I, H, W]`."""
    features = torch.cat([classifier.features(part) for part in images.split(BATCH)])
    return classifier.classes(features).argmax(1), features


def measure(grown: Tensor, pictures: Pictures, classifier: Classifier | None) -> dict:
    """All metrics that compare grown images `[N, I, H, W]` with their targets, one to one."""
    grown, images = grown.clamp(0, 1), pictures.images
    pairs = zip(grown.split(BATCH), images.split(BATCH), strict=True)
    similarity = [ssim(a, b, data_range=1.0, reduction="none").reshape(-1) for a, b in pairs]
    accuracy = None
    if classifier is not None:
        predicted, _ = classify(classifier, grown)
        accuracy = (predicted == pictures.labels).double().mean().item()
    return {
        "pixel_accuracy": pixel_accuracy(grown, images),
        "ink_iou": ink_iou(grown, images),
        "mse": squared_error(grown, images),
        "psnr": min(psnr(grown, images, data_range=1.0).item(), 100.0),  # finite in JSON
        "ssim": torch.cat(similarity).double().mean().item(),
        "classifier_accuracy": accuracy,
    }


def worst_of(grown: Tensor, pictures: Pictures, count: int = 10) -> list[int]:
    """Indices of the pictures with the most wrong pixels, the worst first."""
    wrong = ((grown > 0.5) != (pictures.images > 0.5)).double().mean((1, 2, 3))
    return wrong.argsort(descending=True, stable=True)[:count].tolist()


def compare_sets(drawn: Tensor, real: Tensor) -> dict[str, float]:
    """FID, coverage and density of features `[N, F]` against those of real pictures `[M, F]`."""
    given = torch.nn.Identity()  # an extractor that passes on the features we already have
    given.num_features = FEATURES
    fid = FrechetInceptionDistance(feature=given)
    fid.update(real, real=True)
    fid.update(drawn, real=False)
    radius = torch.cdist(real, real).kthvalue(NEIGHBOURS + 1, 1).values  # itself is the nearest
    inside = torch.cdist(real, drawn) < radius[:, None]  # [M, N]
    return {
        "fid": fid.compute().item(),
        "coverage": inside.any(1).double().mean().item(),
        "density": inside.double().sum(0).mean().item() / NEIGHBOURS,
    }
