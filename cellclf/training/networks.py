"""Which network a job within a budget trains: the most accurate one that gets through half of the recipe."""

from __future__ import annotations

import gc
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cellclf.backbones.backbone import DEFAULT, Backbone
from cellclf.backbones.registry import list_pretrained
from cellclf.backends import current
from cellclf.data.image_set import ImageSet
from cellclf.errors import CellclfError, OptionError, one_line
from cellclf.training.budget import Budget
from cellclf.training.budgeted import measured, plan_within
from cellclf.training.plan import Speed
from cellclf.training.trainer_checks import check_stage_sizes
from cellclf.utils.backend import float32
from cellclf.utils.device_memory import full_device_names_batch_size
from cellclf.utils.log import logger
from cellclf.utils.parameters import plain

if TYPE_CHECKING:
    from cellclf.training.trainer import Trainer

_ENOUGH = 0.5
"""Share of the recipe's work that a network has to get through in the time."""
_MEASURING = 0.05
"""Share of the whole time within which another network is begun to be measured."""
_WORTH_CHOOSING = 240.0
"""Seconds left below which the recipe's own network is taken: measuring costs up to half a minute for each."""
_HOPE = 0.6
"""Share of the guessed cost of training that is believed before it is measured."""


def pretrained_here() -> list[Backbone]:
    """Give the networks whose published weights are on this machine, the least accurate on ImageNet first.

    Examples:
        >>> all(network.weights is not None for network in pretrained_here())
        True
    """
    found = sorted(list_pretrained(), key=lambda one: one[1].accuracy)
    return [Backbone(entry.name, weights=one.weights, params=dict(one.params) or None) for entry, one in found]


def accuracy_of(network: Backbone) -> float | None:
    """Give the published top-1 accuracy on ImageNet of a network's weights; None where none is known.

    Examples:
        >>> accuracy_of(Backbone("mobilenet", params={"alpha": 0.75})), accuracy_of(Backbone("mobilenet", weights=None))
        (0.684, None)
    """
    spec, weights = network.spec, network.resolved().weights
    weights = next(iter(spec.published), None) if weights == DEFAULT else weights
    settings = spec.settings(network.params)
    known = (one for one in spec.pretrained if one.weights == weights and spec.settings(one.params) == settings)
    return next((one.accuracy for one in known), None)


def keeps_network(trainer: Trainer) -> str:
    """Say why a time budget does not choose another network for a trainer; empty if it may.

    Args:
        trainer: Of a recipe.

    Examples:
        >>> from cellclf.training.trainer import Trainer
        >>> keeps_network(Trainer(backbone=Backbone("mobilenet", weights=None)))
        'its weights are random, and its rates are for such'
    """
    if trainer.start is not None:
        return "it continues a run"
    if trainer.used_backbone().resolved().weights is None:
        return "its weights are random, and its rates are for such"
    if any(plain(stage.unfreeze) != "all" for stage in trainer.used_stages()):
        return "its stages name layers, and another network has others"
    return ""


def choose_network(
    trainer: Trainer,
    networks: Sequence[Backbone],
    train: ImageSet,
    val: ImageSet,
    budget: Budget,
    *,
    own: bool = True,
) -> tuple[Trainer, dict[str, Any]]:
    """Choose the network for the time that there is, by a few measured steps, and say which and why.

    Networks that are more accurate on ImageNet are better after fine-tuning, too, over many data sets (Kornblith,
    Shlens and Le 2019, arXiv 1805.08974), if they are trained for long enough. So the most accurate one is taken of
    those that would get through half of the recipe's work in the time; where none does, the one that gets through most
    of it. Measuring takes about a twentieth of the budget, which counts. With less than four minutes left, nothing is
    measured and the own network is taken.

    Args:
        trainer: With the recipe's own network.
        networks: Others; those that cannot take the images are left out.
        train: Training images.
        val: Validation images.
        budget: The time; what was measured of the chosen one is kept in it, so that it is not measured again.
        own: Whether the weights of the own network can be loaded.

    Returns:
        The trainer with the chosen network, and for the manifest: ``taken``, the backbone as a recipe holds it, and
        ``measured``, for each network its name, accuracy, images a second in training, and share of the recipe.

    Raises:
        OptionError: The own network cannot be used, and no other fits.
    """
    if keeps_network(trainer):
        return trainer, {}
    begun = budget.spent()
    others = [one for one in (_with(trainer, network) for network in networks) if _fits(one, train)]
    others = [one for one in others if _named(one) != _named(trainer)]
    if not own and not others:
        raise OptionError("no network whose weights are on this machine can take these images; name one: backbone=...")
    rows: list[dict[str, Any]] = []
    speeds: dict[str, Speed] = {}
    home = accuracy_of(trainer.used_backbone()) or 0.0
    above = [one for one in others if (accuracy_of(one.used_backbone()) or 0.0) >= home]
    below = [one for one in reversed(others) if one not in above]
    if budget.seconds - begun >= _WORTH_CHOOSING:
        if own:
            _measure(trainer, train, val, budget, rows, speeds)
        slow = own and rows[0]["share"] < _ENOUGH
        for one in (below or above) if slow else above or below:
            if rows and budget.spent() - begun > _MEASURING * budget.seconds:
                break
            gc.collect()  # the network before
            try:
                _measure(one, train, val, budget, rows, speeds)
            except CellclfError as error:  # a full device, or a size that it does not take
                logger.info(f"{_named(one)} is left out: {one_line(str(error))}")
    both = ([trainer] if own else []) + (above or below if not rows else others)
    chosen = _best(trainer, both, rows)
    budget.speed = speeds.get(_named(chosen))
    _explain(chosen, trainer, rows, own)
    return chosen, {"taken": chosen.used_backbone().resolved().to_dict(), "measured": rows}


def _with(trainer: Trainer, network: Backbone) -> Trainer:
    """Give a trainer with another network, under the head that it was described with, if it was."""
    head = {} if network.spec.head is None else {"head": None}
    return plain(trainer).set_params(backbone=network, **head)  # type: ignore[no-any-return]  # of plain


def with_network(trainer: Trainer, taken: Mapping[str, Any]) -> Trainer:
    """Give a trainer with the network that was chosen before: ``taken`` of ``choose_network``."""
    network = Backbone.from_dict(taken)
    return trainer if network == trainer.used_backbone().resolved() else _with(trainer, network)


def _named(trainer: Trainer) -> str:
    network = trainer.used_backbone().resolved()
    params = network.spec.settings(network.params)
    text = ", ".join(f"{key}={value}" for key, value in params.items() if value != network.spec.params[key])
    return f"{network.name} ({text})" if text else network.name


def _fits(trainer: Trainer, train: ImageSet) -> bool:
    """Decide whether a network can take the images; one that would end in a map of 1x1 is left out, too."""
    try:
        check_stage_sizes(trainer, trainer.used_stages(), train)
        return not trainer.used_backbone().check(trainer.shape_of(train))
    except CellclfError:
        return False


@full_device_names_batch_size
@float32()
def _measure(
    trainer: Trainer,
    train: ImageSet,
    val: ImageSet,
    budget: Budget,
    rows: list[dict[str, Any]],
    speeds: dict[str, Speed],
) -> None:
    """Measure a network with random weights, which are as fast, and add its row."""
    name, network = _named(trainer), trainer.used_backbone()
    random: Trainer = plain(trainer).set_params(backbone=Backbone(network.network, weights=None, params=network.params))
    few = train.subset(np.sort(np.random.default_rng(0).permutation(len(train))[: 8 * plain(trainer.batch_size)]))
    scored = len(val) * (1 if trainer.val_augmenter is None else 2)
    with current().devices(trainer.compute.devices):
        loop = random.trial(few, val[:256])
        plain_input = loop.full_size()

        def share(speed: Speed) -> float:
            plan = plan_within(loop, speed, budget, images=len(train), scored=scored)
            return float(max(0.0, plan["until"] - plan["begun"]) / plan["needed"])

        def hopeful(guess: Speed) -> bool:
            low = max(guess.predict, _HOPE * guess.train)
            return not rows or share(Speed(train=low, predict=guess.predict, compile=0.0)) >= _ENOUGH

        speed = measured(loop, plain_input, budget, worth_training=hopeful)
        found = share(speed)
    rows.append(
        {
            "network": name,
            "accuracy": accuracy_of(network),
            "images_per_second": round(1 / speed.train, 1),
            "share": round(found, 3),
        }
    )
    speeds[name] = speed


def _best(own: Trainer, trainers: Sequence[Trainer], rows: Sequence[Mapping[str, Any]]) -> Trainer:
    """Give the best by what was measured; the first where nothing was. Weights that cannot be loaded are left out."""
    by_name = {_named(one): one for one in trainers}
    able = [row for row in rows if row["share"] >= _ENOUGH]
    ranked = sorted(able, key=lambda row: -(row["accuracy"] or 0.0))
    ranked += sorted((row for row in rows if row not in able), key=lambda row: -row["share"])
    names = [row["network"] for row in ranked] or list(by_name)
    problems = []
    for name in names:
        try:
            if by_name[name] is not own:  # which was checked before
                by_name[name].used_backbone().check_published()
                by_name[name].check_sizes()
        except CellclfError as error:  # a damaged file, or a size that it does not take
            problems.append(error)
            logger.info(f"{name} is left out: {one_line(str(error))}")
        else:
            return by_name[name]
    raise problems[0]


def _explain(chosen: Trainer, own: Trainer, rows: Sequence[Mapping[str, Any]], loaded: bool) -> None:
    for row in rows:
        known = "" if row["accuracy"] is None else f", {row['accuracy']:.1%} on ImageNet"
        logger.info(
            f"network {row['network']}{known}: {row['images_per_second']:.0f} images a second in training, "
            f"{row['share']:.0%} of the recipe in the time"
        )
    name = _named(chosen)
    if not loaded:
        logger.info(f"network: {name}, since the weights of {_named(own)} could not be loaded")
    elif len(rows) > 1:
        enough = any(row["network"] == name and row["share"] >= _ENOUGH for row in rows)
        why = "the most accurate that gets through half of the recipe" if enough else "the one that gets furthest"
        logger.info(f"network: {name}, {why}; name a network to have another one")
