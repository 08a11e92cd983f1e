"""What a run can say of its network and the training."""

from __future__ import annotations

from cxr.data.splits import in_order
from cxr.models.card import MULTI_LABEL
from cxr.reports.checklist.subject import Subject, listed
from cxr.training.recipe import Recipe, Stage


def _recipe(subject: Subject) -> Recipe | None:
    from cxr.training.settings import TrainingParams

    params = subject.training.params if subject.training else None
    return params.recipe if isinstance(params, TrainingParams) else None


def technology(subject: Subject) -> str:
    """Return what kind of method it is."""
    classes = subject.results.get("classes") or []
    task = (
        "findings of which several may hold" if subject.results.get("task") == MULTI_LABEL else "one class of several"
    )
    by = f"a deep convolutional network ({subject.card.backbone})" if subject.card else "predictions made elsewhere"
    return f"Classification of chest X-rays by {by}; {task}: {listed(classes)}."


def intended_use(subject: Subject) -> str:
    """Return what the card says the network is for."""
    return subject.card.intended_use if subject.card else ""


def model(subject: Subject) -> str:
    """Return input, output and layers, and the checksum of the weights."""
    card = subject.card
    if card is None:
        return ""
    checksum = (subject.results.get("provenance") or {}).get("weights_sha256") or ""
    arguments = f" {card.backbone_args}" if card.backbone_args else ""
    output = "a sigmoid for each finding" if card.task == MULTI_LABEL else "a softmax over the classes"
    return (
        f"{card.backbone}{arguments}; input {card.size} x {card.size} pixels, "
        f"{'1 channel' if card.channels == 1 else '3 equal channels'}; output {output} {listed(card.classes)}."
        + (f" Weights sha256 {checksum}." if checksum else "")
    )


def preprocessing(subject: Subject) -> str:
    """Return how a file becomes the network's input."""
    card = subject.card
    if card is None:
        return ""
    recipe = _recipe(subject)
    text = ""
    if recipe is not None:
        text = f" Burned-in text: {recipe.text.handling}."
    mean, std = (listed(f"{value:.4g}" for value in values) for values in (card.mean, card.std))
    return (
        f"Decoded to 8-bit grey, brought to {card.size} x {card.size} pixels by area averaging, values in [0, 1] minus "
        f"{mean}, divided by {std}.{text}"
    )


def initial_weights(subject: Subject) -> str:
    """Return what the training began with."""
    card, recipe = subject.card, _recipe(subject)
    if card is None or (recipe is None and not card.origin):
        return ""
    began = (
        "random weights"
        if recipe is not None and recipe.weights is None
        else card.origin or str(recipe and recipe.weights)
    )
    kept = {stage: neurons for stage, neurons in (subject.trained.get("kept_neurons") or {}).items() if neurons}
    neurons = "; ".join(
        f"output neurons kept in stage {stage}: {listed(f'{old} as {new}' for new, old in of.items())}"
        for stage, of in kept.items()
    )
    checksum = f" ({card.checksum})" if card.checksum else ""
    return f"Began with {began}{checksum}.{f' {neurons}.' if neurons else ''}"


def training(subject: Subject) -> str:
    """Return optimiser, schedule, augmentation and loss of each stage, and the seed."""
    recipe = _recipe(subject)
    if recipe is None:
        return ""
    stages = " ".join(_stage_in_words(stage) for stage in recipe.stages)
    return f"{stages} Seed {recipe.seed}, precision {recipe.precision}."


def _stage_in_words(stage: Stage) -> str:
    augment = listed(
        f"{name} {value:g}" for name, value in stage.augment.model_dump().items() if isinstance(value, float) and value
    )
    return (
        f"Stage {stage.name}: {stage.epochs} epochs of batches of {stage.batch}, {stage.optimiser.name} at learning "
        f"rate {stage.optimiser.lr:g}, schedule {stage.schedule.name}, loss {stage.loss}, augmentation "
        f"{augment or 'none'}."
    )


def final_model(subject: Subject) -> str:
    """Return by what the best epoch was chosen."""
    best, recipe = subject.trained.get("best"), _recipe(subject)
    if not best or recipe is None:
        return ""
    monitor = recipe.stages[-1].monitor
    return (
        f"The epoch with the best {monitor} on the validation split: epoch {best.get('epoch')} of stage "
        f"{best.get('stage')}. The test split played no part."
    )


def ensemble(subject: Subject) -> str:
    """Return that one network was measured."""
    return "None: one network." if subject.card else ""


def software(subject: Subject) -> str:
    """Return the versions that the figures depend on."""
    versions = dict((subject.training or subject.run).spec.get("versions") or {})
    return listed(f"{name} {version}" for name, version in versions.items())


def thresholds(subject: Subject) -> str:
    """Return what the output is and when a class counts as predicted."""
    if subject.results.get("task") != MULTI_LABEL:
        return "Probabilities that sum to 1; the class with the highest one is predicted."
    summaries = (subject.results.get("splits") or {}).values()
    per_class = next(iter(summaries))["per_class"]
    said = [f"{name} above {scores['threshold']:.3g}" for name, scores in per_class.items() if "threshold" in scores]
    return f"A probability for each finding, which is predicted: {listed(said)}." if said else ""


def imbalance(subject: Subject) -> str:
    """Return how classes of unequal size were weighted."""
    recipe = _recipe(subject)
    if recipe is None:
        return ""
    scaled = [
        f"{split}: {further['scaled']['temperature']:.3g}"
        for split in in_order(tuple(subject.results.get("splits") or {}))
        if (further := (subject.results.get("splits") or {})[split].get("further"))
        and "temperature" in further["scaled"]
    ]
    recalibrated = f" Temperature scaling, fitted on the validation split: {listed(scaled)}." if scaled else ""
    if not scaled:
        summaries = (subject.results.get("splits") or {}).values()
        reasons = {further["scaled"]["why"] for summary in summaries if (further := summary.get("further"))}
        recalibrated = f" Temperature scaling: {listed(sorted(reasons))}." if reasons else ""
    return f"Class weights: {recipe.stages[-1].class_weights or 'none'}.{recalibrated}"


def updating(subject: Subject) -> str:
    """Return that the network was not updated after it was measured."""
    return "The network was not changed after it was measured." if subject.card else ""


def protocol(subject: Subject) -> str:
    """Return where everything that was asked for stands."""
    run = subject.training or subject.run
    return f"All settings are in the run's spec.json ({run.id})."


def availability(subject: Subject) -> str:
    """Return what can be passed on, and under which licence."""
    if subject.card is None:
        return ""
    version = ((subject.training or subject.run).spec.get("versions") or {}).get("cxr") or ""
    licence = subject.card.licence or "not stated"
    return (
        f"Software: cxr {version}. Weights: `cxr weights export {subject.network_ref} --format timm` writes them with "
        f"their card (licence: {licence})."
    )
