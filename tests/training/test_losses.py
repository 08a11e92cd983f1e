import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torchvision.ops import sigmoid_focal_loss

from cxr.training.losses import class_weights, make_loss, positive_weights
from cxr.training.recipe import Stage

CPU = torch.device("cpu")
CLASSES = ("a", "b", "c")
CODES = np.array([0, 1, 2, 2, 0, 1, 1])
FINDINGS = np.array([[1, 0, 0], [0, 1, 1], [0, 0, 0], [1, 1, 0], [0, 0, 1], [0, 1, 0], [1, 0, 1]], np.float32)
MULTI = {"task": "multi-label", "label": "findings"}


@pytest.fixture
def logits():
    return torch.randn(7, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64).float()


def loss_of(targets, **settings):
    return make_loss(Stage(**settings), CLASSES, targets, CPU)


def test_balanced_weights_make_every_class_weigh_the_same():
    targets = np.array([0, 0, 0, 1, 2, 2])
    weights = class_weights(targets, 3)
    assert [weights[targets][targets == c].sum() for c in range(3)] == pytest.approx([2, 2, 2])
    positive = positive_weights(np.array([[1, 1], [0, 0], [0, 0], [0, np.nan]], np.float32))
    assert positive.tolist() == [3.0, 2.0]


def test_a_class_without_images_weighs_nothing_and_the_mean_weight_of_the_images_stays_1():
    targets = np.array([0, 0, 0, 2])
    weights = class_weights(targets, 4)
    assert weights[[1, 3]].tolist() == [0, 0]
    assert weights[targets].mean() == pytest.approx(1)
    findings = np.array([[1, 0, np.nan, 0], [0, 0, np.nan, 1], [0, np.nan, np.nan, 1]], np.float32)
    assert positive_weights(findings).tolist() == [2.0, 0.0, 0.0, 0.5]


def test_validation_images_of_a_class_without_training_images_do_not_move_the_loss(logits):
    loss = loss_of(np.array([0, 0, 1]), class_weights="balanced", label_smoothing=0.1)
    seen, with_unseen = np.array([0, 1, 1]), np.array([0, 1, 1, 2, 2])
    assert loss.mean(logits[:5], with_unseen).item() == pytest.approx(loss.mean(logits[:3], seen).item(), rel=1e-6)
    assert loss.mean(logits[:2], np.array([2, 2])).item() == 0


CERTAIN = [1e-30, 20.0, 100.0, 1e4]  # the largest that float16 holds beside its negative is 65504
OF_ONE_LABEL = [{"label_smoothing": s} for s in (0.0, 0.1, 0.9)]
FOCAL = [{"loss": "focal", "focal_gamma": g} for g in (0.01, 0.5, 0.99, 1.0, 2.0, 10.0)]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("weights", ["none", "balanced", {"a": 1000.0, "c": 0.001}])
@pytest.mark.parametrize(
    ("targets", "settings"),
    [(np.array([0, 1, 0]), some) for some in OF_ONE_LABEL + FOCAL]
    + [(np.array([[1, 0, np.nan], [0, np.nan, 0], [1, 1, 0]], np.float32), MULTI | some) for some in [{}, *FOCAL]],
)
def test_gradients_are_finite_however_certain_a_network_is_right_or_wrong(targets, settings, weights, dtype):
    loss = loss_of(targets, class_weights=weights, **settings)
    signs = torch.tensor([[a, b, c] for a in (1, -1) for b in (1, -1) for c in (1, -1)])
    for size in CERTAIN:
        for sign in signs:
            logits = (size * sign).to(dtype).expand(3, 3).clone().requires_grad_()
            with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
                value = loss.mean(logits, targets)
            value.backward()
            assert value.isfinite()
            assert logits.grad.isfinite().all(), (size, sign)


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("settings", [{}, MULTI])
def test_the_gradient_of_the_focal_loss_is_that_of_its_formula(gamma, settings):
    y = FINDINGS if settings else CODES
    logits = 3 * torch.randn(7, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    ours, plain = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    loss_of(y, loss="focal", focal_gamma=gamma, class_weights="none", **settings).mean(ours, y).backward()
    if settings:
        truth = torch.from_numpy(y)
        p = torch.where(truth > 0, torch.sigmoid(plain), torch.sigmoid(-plain))
    else:
        p = torch.softmax(plain, 1)[range(7), CODES]
    (-((1 - p) ** gamma) * p.log()).mean().backward()
    assert torch.allclose(ours.grad, plain.grad, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("weights", ["none", "balanced", {"a": 3.0, "c": 0.5}])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_is_torchs_own_with_its_weights_and_smoothing(logits, weights, smoothing):
    loss = loss_of(CODES, class_weights=weights, label_smoothing=smoothing)
    named = {"none": [1, 1, 1], "balanced": class_weights(CODES, 3)}.get(str(weights), [3.0, 1.0, 0.5])
    y = torch.from_numpy(CODES)
    expected = F.cross_entropy(logits, y, weight=torch.tensor(np.array(named)).float(), label_smoothing=smoothing)
    assert loss.mean(logits, CODES).item() == pytest.approx(expected.item(), rel=1e-6)


def test_binary_cross_entropy_is_torchs_own(logits):
    plain = loss_of(FINDINGS, class_weights="none", **MULTI)
    expected = F.binary_cross_entropy_with_logits(logits, torch.from_numpy(FINDINGS))
    assert plain.mean(logits, FINDINGS).item() == pytest.approx(expected.item(), rel=1e-6)


def test_focal_loss_is_cross_entropy_at_gamma_0_and_torchvisions_for_findings(logits):
    at_0 = loss_of(CODES, loss="focal", focal_gamma=0)
    assert at_0.mean(logits, CODES) == loss_of(CODES).mean(logits, CODES)
    focal = loss_of(CODES, loss="focal", focal_gamma=2, class_weights="none").mean(logits, CODES)
    p = torch.softmax(logits, 1)[range(7), CODES]
    assert focal.item() == pytest.approx((-((1 - p) ** 2) * p.log()).mean().item(), rel=1e-6)
    several = loss_of(FINDINGS, loss="focal", focal_gamma=1.5, class_weights="none", **MULTI)
    expected = sigmoid_focal_loss(logits, torch.from_numpy(FINDINGS), alpha=-1, gamma=1.5, reduction="mean")
    assert several.mean(logits, FINDINGS).item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize("settings", [{}, {"loss": "focal"}])
def test_unknown_findings_count_nowhere_and_give_no_gradient(logits, settings):
    known = FINDINGS.copy()
    known[[0, 3], [1, 2]] = np.nan
    logits.requires_grad_()
    loss = loss_of(known, class_weights="none", **MULTI, **settings).mean(logits, known)
    loss.backward()
    assert logits.grad[0, 1] == logits.grad[3, 2] == 0
    assert (logits.grad != 0).sum() == known.size - 2
    rest = np.isfinite(known)
    one = loss_of(FINDINGS, class_weights="none", **MULTI, **settings)
    each = [[one.summed(logits[i, k], torch.tensor(FINDINGS[i, k])).item() for k in range(3)] for i in range(7)]
    assert loss.item() == pytest.approx(np.array(each)[rest].mean(), rel=1e-6)


def test_images_whose_findings_are_all_unknown_give_a_loss_of_0(logits):
    unknown = np.full_like(FINDINGS, np.nan)
    assert loss_of(unknown, class_weights="none", **MULTI).mean(logits, unknown) == 0


@pytest.mark.parametrize(("targets", "settings"), [(CODES, {"label_smoothing": 0.1}), (FINDINGS, MULTI)])
def test_parts_of_a_batch_add_up_to_the_whole(logits, targets, settings):
    loss = loss_of(targets, **settings)
    parts = [slice(0, 3), slice(3, 4), slice(4, 7)]
    y = torch.from_numpy(targets)
    summed = sum(loss.summed(logits[part], y[part]) for part in parts) / loss.weight_of(targets)
    assert summed.item() == pytest.approx(loss.mean(logits, targets).item(), rel=1e-6)
