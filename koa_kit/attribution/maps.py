"""Why KL2 rather than KL1? Where in a radiograph the difference between two prompts' logits comes from.

A map is a hint and no proof: `koa_kit.attribution.sanity` says how much of it lies on true signs, and how much
of it a model that has learnt nothing would show as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional

from koa_kit.attribution.scores import Attribution
from koa_kit.errors import KoaError
from koa_kit.grades import GRADES
from koa_kit.model import ClipKoa
from koa_kit.model.grader import check_finite
from koa_kit.model.spec import crop_rows

METHODS = {
    "gradcam": "the last feature map of a convolutional tower, weighted by its gradient (Selvaraju 2017, 1610.02391)",
    "integrated_gradients": "gradients summed on the way from a blurred film (Sundararajan 2017, arXiv 1703.01365)",
    "occlusion": "what the answer loses where a window is blurred (Zeiler and Fergus 2014, arXiv 1311.2901)",
}
"""Ways to explain, by name."""

BLUR = 0.1
"""Spread of the blur as a share of the width: bones keep their place on the film, joint space and spurs are gone."""

STEPS, CLOSE = (48, 144), 0.05
"""Steps tried for integrated gradients, until the gap is this share of what the heat has to add up to."""

BATCH = 16
"""Films a pass; each also mirrored where the model averages both views."""


def explain(
    model: ClipKoa,
    image: np.ndarray,
    *,
    towards: int,
    rather_than: int | None = None,
    method: str = "gradcam",
    side: str = "R",
    mirror: bool = False,
) -> Attribution:
    """Where in a radiograph the logit of one grade gets its lead over that of another; the model is left as it was.

    The model answers in evaluation mode, about what it sees: its crop at its own resolution, both views where it
    averages them. The map is then put back bilinearly where it belongs on the radiograph.

    Parameters
    ----------
    model
        A locked image tower is explained as well.
    image
        uint8 ``(H, W)``, bone bright: a whole radiograph, or one of the tower's own shape, which is taken as it is.
    towards, rather_than
        Grades 0 to 4, not the same. Omitted the second, the logit of the first alone is explained.
    method
        One of `METHODS`. Grad-CAM takes one pass and shows coarse cells, each drawn as an equal share of the film,
        though padding lets those of koa-tiny see half a cell further up and left; where logits are similarities it
        adds up to about 0, for cells are compared with each other. Integrated gradients are fine, grainy, and add up.
        Occlusion needs no gradient and some hundred passes.
    side
        "R" or "L": a model with a canonical side is shown a left knee mirrored; the map is turned back.
    mirror
        Explain the answer to the mirror image, and turn the map back.

    Raises
    ------
    KoaError
        If there is no such grade or method, no feature map for Grad-CAM, or a logit is not finite.

    Examples
    --------
    >>> explain(model, image, towards=2, rather_than=1).question  # doctest: +SKIP
    'why KL2 rather than KL1'
    """
    image = np.asarray(image)
    _check(image, towards, rather_than, method)
    mirror = mirror != (model.spec.canonical_side and side == "L")
    rows = rows_seen(model, image.shape)
    with as_in_evaluation(model):
        seen = as_seen(model, image, mirror)
        score = partial(_lead, model, towards, rather_than)
        with torch.no_grad():
            difference = score(seen)
        check_finite(difference.cpu().numpy(), f"KL{towards} of a radiograph")
        heat, found = _found_by(method, model, score, seen)
    whole = np.zeros(image.shape, np.float32)
    shape = whole[rows].shape
    options = {"mode": "bilinear", "antialias": shape[0] < heat.shape[0], "align_corners": False}
    whole[rows] = functional.interpolate(heat[None, None].float(), shape, **options)[0, 0].cpu()
    if method == "integrated_gradients":
        # more pixels, less heat in each: the map adds up on the radiograph as well
        whole *= heat.numel() / whole[rows].size
    if mirror:
        whole = np.ascontiguousarray(whole[:, ::-1])
    rather_than = None if rather_than is None else int(rather_than)
    return Attribution(whole, int(towards), rather_than, float(difference), method, **found)


def _check(image: np.ndarray, towards: int, rather_than: int | None, method: str) -> None:
    if image.ndim != 2 or image.dtype != np.uint8 or min(image.shape) < 16:
        raise KoaError(
            f"A radiograph is uint8 (H, W) of 16 pixels or more, not {image.dtype} {image.shape}.",
            where="image",
            remedy="Pass one knee, such as cohort.images[0].",
        )
    for grade in (towards,) if rather_than is None else (towards, rather_than):
        if grade not in GRADES:
            raise KoaError(f"There is no grade {grade!r}.", remedy="Grades are whole numbers, 0 to 4.")
    if towards == rather_than:
        raise KoaError(f"Why KL{towards} rather than KL{towards} has no answer.", remedy="Choose two grades.")
    if method not in METHODS:
        raise KoaError(f"There is no method {method!r}.", remedy=f"Choose from {', '.join(METHODS)}.")


@contextmanager
def as_in_evaluation(model: ClipKoa) -> Iterator[None]:
    """Evaluation mode, gradients on and no weight in need of one; afterwards everything as it was."""
    modes = [(module, module.training) for module in model.modules()]
    wanted = [(weight, weight.requires_grad) for weight in model.parameters()]
    model.eval()
    try:
        for weight, _ in wanted:
            weight.requires_grad_(False)
        with torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training
        for weight, needs in wanted:
            weight.requires_grad_(needs)


def rows_seen(model: ClipKoa, shape: tuple[int, int]) -> slice:
    """Rows of a radiograph that the model sees; all of one that has the tower's own shape."""
    return slice(None) if tuple(shape) == model.spec.image_shape else crop_rows(shape[0], model.spec.crop)


def as_seen(model: ClipKoa, image: np.ndarray, mirror: bool) -> Tensor:
    """The film as the tower gets it, float ``(1, h, w)`` of 0 to 255, with the rounding that predictions have."""
    pixels = model.resampled(image[None])
    # mirrored last, for so do predictions: the rounding differs
    return (pixels.flip(-1) if mirror else pixels).to(model.device).float()


def _lead(model: ClipKoa, towards: int, rather_than: int | None, films: Tensor) -> Tensor:
    """Logit of one grade less that of the other ``(n,)``, of films ``(n, h, w)``; gradients reach the pixels."""
    pooled = model.spec.flip_pooling
    features = model.image_features(torch.cat([films, films.flip(-1)]) if pooled else films, through_locked=True)
    if model.towers.compressed and "image" in model.locked:
        # their square root is taken, which has an infinite slope at 0
        features = features.clamp(min=1e-12)
    logits = model.logits(*features.chunk(2) if pooled else (features,))[0]
    return logits[:, towards].float() - (0 if rather_than is None else logits[:, rather_than].float())


def _found_by(method: str, model: ClipKoa, score: Callable, seen: Tensor) -> tuple[Tensor, dict]:
    """Heat ``(h, w)`` on the film as the model sees it, and what else `Attribution` tells of this method."""
    attr = _captum()
    if method == "gradcam":
        views = attr.LayerGradCam(score, _last_map(model, seen)).attribute(seen.requires_grad_()).detach()[:, 0]
        return views[0] + views[1].flip(-1) if model.spec.flip_pooling else views[0], {}
    soft = ndimage.gaussian_filter(seen[0].cpu().numpy(), BLUR * seen.shape[-1], mode="nearest")
    blurred = torch.from_numpy(soft)[None].to(seen)
    with torch.no_grad():
        baseline = float(score(blurred))
        change = float(score(seen)) - baseline
    if method == "occlusion":
        window = max(round(min(seen.shape[1:]) / 8), 2)
        options = {"sliding_window_shapes": (window, window), "strides": (window // 2, window // 2)}
        with torch.no_grad():
            heat = attr.Occlusion(score).attribute(seen, baselines=blurred, perturbations_per_eval=BATCH, **options)
        return heat[0], {"baseline": baseline}
    for steps in STEPS:
        heat = attr.IntegratedGradients(score).attribute(seen, blurred, n_steps=steps, internal_batch_size=BATCH)
        gap = float(heat.detach().sum()) - change
        if abs(gap) <= CLOSE * abs(change):
            break
    return heat.detach()[0], {"baseline": baseline, "gap": gap}


def _last_map(model: ClipKoa, seen: Tensor) -> nn.Module:
    """Module of the image tower that gives its last convolutional feature map ``(n, C, h, w)``, h or w above 1.

    After the last module with a convolution inside, norms and activations of the same map may follow. Where tokens
    ``(n, L, C)`` follow, the map is only where a transformer begins.
    """
    ran: list[tuple[nn.Module, tuple[int, ...]]] = []
    with ExitStack() as hooks, torch.no_grad():
        for module in model.image_tower.modules():
            note = module.register_forward_hook(
                lambda part, _, out: ran.append((part, tuple(getattr(out, "shape", ()))))
            )
            hooks.callback(note.remove)
        model.image_features(seen)
    maps = [
        place
        for place, (module, shape) in enumerate(ran)
        if len(shape) == 4 and max(shape[2:]) > 1 and any(isinstance(part, nn.Conv2d) for part in module.modules())
    ]
    after = ran[maps[-1] :] if maps else []
    if not after or any(len(shape) == 3 for _, shape in after):
        raise KoaError(
            f"The image tower of {model.towers.name} has no last feature map: Grad-CAM needs a convolutional tower.",
            where=f"films of {seen.shape[1]} x {seen.shape[2]} pixels",
            remedy=f"Choose method={' or '.join(name for name in METHODS if name != 'gradcam')}.",
        )
    return [module for module, shape in after if shape == after[0][1]][-1]


def _captum():
    try:
        import captum.attr
    except ImportError as error:
        raise KoaError("captum is not installed, which makes the maps.", remedy="pip install captum") from error
    return captum.attr
