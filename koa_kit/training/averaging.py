"""Weights beside the trained ones: a moving average, a mixture with the start, and a model that borrows them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pandas as pd
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from koa_kit.cohort import Cohort
from koa_kit.errors import KoaError
from koa_kit.model import ClipKoa
from koa_kit.training.config import TrainConfig
from koa_kit.training.untrained import untrained_model

if TYPE_CHECKING:
    from koa_kit.training.run import Run


def trained_state(model: ClipKoa) -> dict[str, Tensor]:
    """What training changes, by its name in ``state_dict``: the model's own tensors, detached and not copied.

    Parameters that are trained, and of trained towers the floating-point buffers (means and variances of batch norms);
    a module all of whose parameters are frozen keeps its buffers, see `ClipKoa.train`.
    """
    names = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    for component in {"image", "text"} - model.locked:
        tower = f"{component}_tower"
        for path, module in model.get_submodule(tower).named_modules(prefix=tower):
            own = [parameter.requires_grad for parameter in module.parameters(recurse=False)]
            if any(own) or not own:
                names |= {f"{path}.{name}" for name, _ in module.named_buffers(recurse=False)}
    # a buffer that is not in the state dict is a constant, such as an attention mask
    return {name: value for name, value in model.state_dict().items() if name in names and value.is_floating_point()}


class WeightAverage:
    """Exponential moving average of `trained_state`; a locked tower is not copied.

    After step t = 0, 1, … the average keeps ``min(decay, (1 + t) / (10 + t))`` of itself, so that the random start is
    soon forgotten (Tarvainen and Valpola 2017, arXiv 1703.01780, for such averages; the climb is TensorFlow's).

    Parameters
    ----------
    model
        Model under training, on its device and with its components locked as they shall be. Its tensors are followed,
        so it must not be moved afterwards.
    decay
        In [0, 1): 0.999 averages over about the last thousand steps.
    """

    def __init__(self, model: ClipKoa, decay: float):
        self.decay, self.updates = decay, 0
        self._followed = trained_state(model)
        self._average = {name: value.clone() for name, value in self._followed.items()}

    @property
    def weights(self) -> dict[str, Tensor]:
        """The average by name, on the model's device; the next `update` changes these tensors."""
        return dict(self._average)

    @torch.no_grad()
    def update(self) -> None:
        """Take in the model's weights after a step; nothing is read back from the device."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        get_ema_multi_avg_fn(decay)(list(self._average.values()), list(self._followed.values()), None)
        self.updates += 1

    def state_dict(self) -> dict:
        """Average and number of updates, for ``torch.save``; the tensors are not copied."""
        return {"updates": self.updates, "weights": self.weights}

    @torch.no_grad()
    def load_state_dict(self, state: dict) -> None:
        """Go on from what `state_dict` returned.

        Raises
        ------
        KoaError
            If it is of other weights.
        """
        _check_names(self._average, state["weights"], "The average is of other weights")
        for name, value in state["weights"].items():
            self._average[name].copy_(value)
        self.updates = state["updates"]


def interpolated(start: Mapping[str, Tensor], tuned: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """Weights ``share · tuned + (1 - share) · start``: WiSE-FT (Wortsman et al. 2022, arXiv 2109.01903).

    Parameters
    ----------
    start, tuned
        Weights of the same names, before and after training; the result lies where `tuned` does.
    share
        0 to 1; 0 gives the start and 1 the tuned weights exactly.

    Raises
    ------
    KoaError
        If the names or the shapes differ, or the share lies outside 0 to 1.
    """
    if not 0 <= share <= 1:
        raise KoaError("The share of the tuned weights must lie in [0, 1].", where=f"share={share}")
    _check_names(start, tuned, "The weights before and after training differ")
    with torch.no_grad():
        before = {name: value.detach().to(tuned[name]) for name, value in start.items()}
        if share in (0, 1):
            chosen = tuned if share else before
            return {name: chosen[name].detach().clone() for name in tuned}
        return {name: torch.lerp(before[name], value.detach(), share) for name, value in tuned.items()}


@contextmanager
def swapped(model: nn.Module, weights: Mapping[str, Tensor]) -> Iterator[None]:
    """The model has these weights inside the block and its own, bit for bit, after it, whatever happens in between.

    Parameters
    ----------
    model
        Not trained inside the block.
    weights
        By name in ``state_dict``; all others stay. Copied, so that the block may change them.

    Raises
    ------
    KoaError
        If the model has no weights of such a name or shape.
    """
    state = model.state_dict()
    own = {name: state[name] for name in weights if name in state}
    _check_names(own, weights, "The model has no such weights")
    kept = {name: value.clone() for name, value in own.items()}
    try:
        _put(model, own, weights)
        yield
    finally:
        _put(model, own, kept)


@torch.no_grad()
def _put(model: nn.Module, own: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> None:
    for name, value in weights.items():
        own[name].copy_(value)
    if isinstance(model, ClipKoa) and any(name.startswith("text_tower.") for name in weights):
        # a locked text tower has encoded its prompts with other weights
        model.prompt_features = None


def start_weights(config: TrainConfig) -> dict[str, Tensor]:
    """Weights, on the CPU, that the trained towers of a run began with: made again from its choices, not stored.

    Empty for a run that trains no tower. The projections are among them only where the towers were trained together
    and they start as the identity: random ones are nothing to go back to. The temperature never is.

    Parameters
    ----------
    config
        Of the run.
    """
    model = untrained_model(config)
    prefixes = ("image_tower.", "text_tower.")
    if model.towers.aligned:
        prefixes += ("image_projection.", "text_projection.")
    trains_a_tower = not {"image", "text"} <= model.locked
    return {n: value for n, value in trained_state(model).items() if trains_a_tower and n.startswith(prefixes)}


def wise_ft_curve(run: Run, cohort: Cohort, shares: Sequence[float] = (0, 0.25, 0.5, 0.75, 1)) -> pd.DataFrame:
    """Scores of a run's model between the weights it began with (share 0) and its tuned ones (share 1).

    What a tower knew of other pictures before it was tuned partly comes back at a share below 1, often at no cost on
    knees like those it was tuned on. Means and variances of batch norms are mixed as the weights are, which is not
    what they would be if measured: with many batch norms the curve may sag in the middle where a transformer's does
    not. The share is a choice like any other: make it on val, never on test.

    Parameters
    ----------
    run
        Trained with ``wise_ft=1``; its model is left as it was.
    cohort
        Knees to score, such as ``cohort.split("val")``.
    shares
        Shares of the tuned weights, each 0 to 1.

    Returns
    -------
    DataFrame
        One row a share: ``share``, ``accuracy``, ``qwk``, ``kl1_recall``.

    Raises
    ------
    KoaError
        If no tower was trained, or the run keeps a mixture already.
    """
    from koa_kit.error_analysis.metrics import metrics

    if run.config.wise_ft != 1:
        raise KoaError(
            "The run keeps a mixture of weights already, and no longer the tuned ones.",
            where=f"wise_ft={run.config.wise_ft}",
            remedy="Train with wise_ft=1 and choose the share afterwards.",
        )
    start = start_weights(run.config)
    if not start:
        raise KoaError(
            "No tower of this run was trained: there is nothing to mix.",
            where=f"regime={run.config.regime}",
            remedy="Choose a run with regime=finetune.",
        )
    state = run.model.state_dict()
    tuned = {name: state[name].clone() for name in start}
    rows = []
    for share in shares:
        with swapped(run.model, interpolated(start, tuned, share)):
            scores = metrics(run.predict(cohort)[0])
        rows.append({"share": share, **{name: scores[name] for name in ("accuracy", "qwk", "kl1_recall")}})
    return pd.DataFrame(rows)


def _check_names(own: Mapping[str, Tensor], other: Mapping[str, Tensor], what: str) -> None:
    differing = sorted(set(own) ^ set(other)) or [name for name in own if own[name].shape != other[name].shape]
    if differing:
        more = f" and {len(differing) - 1} more" if differing[1:] else ""
        raise KoaError(f"{what}: {differing[0]}{more}.", remedy="Take both from runs of the same choices.")
