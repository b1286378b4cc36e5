"""Classifiers, how they are trained, what augments their images, and CNN-Acc."""

import json
import math
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fpigauss import InvalidInputError
from fpigauss_torch import ClassFlow, LatentGaussians

from nfpi.classifier_training import cnn_accuracy, judge, train_classifier
from nfpi.classifiers import CLASSIFIERS, Classifier, make_classifier, n_parameters
from nfpi.data import ImageSet
from nfpi.flow_augmentation import FlowAugmentation, _Partners
from nfpi.flows import make_flow
from nfpi.generation import generate_images
from nfpi.mixing import (
    BATCHWISE,
    IMAGEWISE,
    cutmix,
    make_pipeline,
    mixup,
    policy,
    split_names,
)
from nfpi.recipes import RECIPES, STANDARD_AUGMENTATION, Recipe

N_CLASSES, SHAPE = 3, (1, 8, 8)
SHORT = Recipe(epochs=3, batch_size=20)

TINY = {
    "small_cnn": {"width": 4, "hidden": 8},
    "resnet18": {"hidden_sizes": (4, 8, 8, 8), "depths": (1, 1, 1, 1)},
    "swin": {"embed_dim": 8, "depths": (1, 1), "num_heads": (1, 2)},
    "swin_small": {"embed_dim": 8, "depths": (1, 1), "num_heads": (1, 2)},
}


@pytest.fixture
def script(train_classifier_script):
    return train_classifier_script


def images_of(labels, seed=0):
    """Draw noise around a bright third of each picture; which third tells its class."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 90, (len(labels), *SHAPE), generator=generator, dtype=torch.uint8)
    for row, label in enumerate(labels.tolist()):
        images[row, 0, :, 3 * label : 3 * label + 2] += 120
    return ImageSet(images, labels, N_CLASSES, "stripes")


def stripes(n_images, seed=0):
    """Draw images of all classes in turn."""
    return images_of(torch.arange(n_images) % N_CLASSES, seed)


def flow_over(gaussians, decode=lambda z: z.reshape(-1, *SHAPE)):
    """Build a flow that is the identity."""
    codec = (lambda x: (x.flatten(1), x.new_zeros(len(x))), decode)
    model = ClassFlow(None, gaussians, codec=codec)
    model.encode(torch.zeros(1, *SHAPE))  # from here on it knows its shapes
    return model


def stripe_flow(flipped=False):
    """Put the identity over Gaussians fitted to stripes, or to stripes under wrong labels."""
    data = stripes(300)
    labels = (data.labels + 1) % N_CLASSES if flipped else data.labels
    gaussians = LatentGaussians(N_CLASSES, 64, covariance="diagonal", tied=False)
    gaussians.fit_((data.images.double() / 256).flatten(1), labels, lam=0.0)
    return flow_over(gaussians)


# -- the classifiers -----------------------------------------------------------------------


@pytest.mark.parametrize("name", TINY)
@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 14, 14), (3, 32, 32)])
def test_tiny_classifiers_give_logits_and_train(name, shape):
    model = make_classifier(name, 5, shape, **TINY[name])
    logits = model(torch.rand(4, *shape))
    assert logits.shape == (4, 5)
    logits.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_small_cnn_has_as_many_parameters_for_every_size():
    sizes = {n_parameters(make_classifier("small_cnn", 10, (1, n, n))) for n in (8, 14, 28)}
    assert sizes == {67_442}


@pytest.mark.parametrize(
    ("name", "millions", "tolerance"), [("resnet18", 11.2, 0.05), ("swin", 7.1, 0.1)]
)
def test_the_papers_classifiers_have_the_papers_sizes(name, millions, tolerance):
    model = make_classifier(name, 10, (3, 32, 32))
    assert abs(n_parameters(model) / 1e6 - millions) < tolerance


def test_resnet18_keeps_its_own_stem_for_large_images_alone():
    small, large = (
        make_classifier("resnet18", 5, (3, n, n), **TINY["resnet18"]).body.resnet.embedder
        for n in (32, 224)
    )
    assert small(torch.rand(1, 3, 32, 32)).shape[-1] == 32
    assert large(torch.rand(1, 3, 224, 224)).shape[-1] == 56


def test_weights_follow_from_the_seed_and_torchs_state_stays():
    before = torch.get_rng_state()
    first, again, other = (
        make_classifier("small_cnn", 3, SHAPE, seed=seed).body[0].weight for seed in (4, 4, 5)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_unsuitable_classifiers_are_refused():
    with pytest.raises(InvalidInputError, match="no classifier 'resnet'; pass one of small_cnn"):
        make_classifier("resnet", 3, SHAPE)
    with pytest.raises(InvalidInputError, match="square images, not 8x9"):
        make_classifier("swin", 3, (1, 8, 9))


def test_a_missing_library_is_named_with_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ImportError, match=r"eva02 needs timm.*examples/nfpi\[imagenet\]"):
        make_classifier("eva02", 3, (3, 8, 8))


def test_eva02_resizes_and_standardizes_as_it_was_pretrained(monkeypatch):
    seen = {}

    class Body(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.pretrained_cfg = {
                "mean": (0.5, 0.4, 0.3),
                "std": (0.2, 0.1, 0.5),
                "input_size": (3, 16, 16),
            }

        def forward(self, x):
            seen["x"] = x
            return x.mean((2, 3))

    def create_model(name, *, pretrained, num_classes):
        seen.update(name=name, pretrained=pretrained, num_classes=num_classes)
        return Body()

    monkeypatch.setitem(sys.modules, "timm", SimpleNamespace(create_model=create_model))
    model = make_classifier("eva02", 7, (3, 8, 8))
    assert seen["name"].startswith("eva02_base_patch14_448")
    assert (seen["pretrained"], seen["num_classes"]) == (True, 7)
    model(torch.full((2, 3, 8, 8), 0.9))
    assert seen["x"].shape == (2, 3, 16, 16)
    # a constant image stays one when it is resized: bicubic weights sum to one, to float rounding
    expected = torch.tensor([0.4 / 0.2, 0.5 / 0.1, 0.6 / 0.5])[:, None, None].expand(2, 3, 16, 16)
    torch.testing.assert_close(seen["x"], expected, rtol=1e-5, atol=0)
    with pytest.raises(InvalidInputError, match="color images, not 1 channel"):
        make_classifier("eva02", 7, SHAPE)


# -- recipes -------------------------------------------------------------------------------


def test_one_cycle_is_torchs():
    recipe, n_steps = RECIPES["resnet18"], 200
    optimizer = torch.optim.SGD([torch.zeros(1)], recipe.lr, momentum=recipe.momentum)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        recipe.max_lr,
        total_steps=n_steps,
        div_factor=recipe.max_lr / recipe.lr,
        cycle_momentum=False,
    )
    for step in range(n_steps):
        # the same formula in another order: a few roundings of numbers up to max_lr
        assert recipe.rate(step, n_steps) == pytest.approx(schedule.get_last_lr()[0], abs=1e-15)
        optimizer.step()
        schedule.step()


def test_cosine_rises_and_falls_and_constant_stays():
    cosine = Recipe("adamw", lr=1.0, schedule="cosine", warmup=0.1)
    rates = [cosine.rate(step, 100) for step in range(100)]
    assert max(rates) == rates[10] == 1.0
    assert rates[:11] == sorted(rates[:11])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert 0.0 < rates[-1] < 1e-3
    assert {RECIPES["eva02"].rate(step, 50) for step in range(50)} == {1e-5}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"epochs": 0}, "epochs is 0"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"lr": 1.0}, "max_lr"),
    ],
)
def test_recipes_refuse_what_cannot_be(change, words):
    with pytest.raises(InvalidInputError, match=words):
        replace(Recipe(), **change)


def test_every_classifier_has_a_recipe_and_augmentations():
    assert RECIPES.keys() == STANDARD_AUGMENTATION.keys() == CLASSIFIERS.keys()
    for names in STANDARD_AUGMENTATION.values():
        imagewise, batchwise = split_names(names)
        assert sorted(imagewise + batchwise) == sorted(names)


# -- augmentation --------------------------------------------------------------------------


@pytest.mark.parametrize("mix", [cutmix, mixup])
def test_labels_are_shared_as_the_pixels_are(mix):
    torch.manual_seed(0)
    y = torch.arange(40) % 10
    x = (y / 16.0)[:, None, None, None].expand(40, 3, 11, 7)  # gray by class
    for _ in range(20):
        mixed, soft = mix(x, y, 10)
        torch.testing.assert_close(soft.sum(1), torch.ones(40))
        # the mean gray is that of the soft label; torch's tolerances are of float32 rounding
        torch.testing.assert_close(mixed.mean((1, 2, 3)), soft @ (torch.arange(10) / 16.0))
    if mix is cutmix:
        assert mixed.flatten(1).sort().values.diff(dim=1).gt(0).sum(1).max() <= 1  # two grays


@pytest.mark.parametrize("name", ["auto", "rand", "erase"])
@pytest.mark.parametrize("channels", [1, 3])
def test_policies_keep_shape_and_range_and_follow_the_seed(name, channels):
    x = torch.rand(40, channels, 14, 14, generator=torch.Generator().manual_seed(0))
    augmented = policy(name)
    runs = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        runs.append(augmented(x))
    assert runs[0].shape == x.shape
    assert 0.0 <= runs[0].min() <= runs[0].max() <= 1.0
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])


def test_unknown_augmentations_are_refused():
    with pytest.raises(InvalidInputError, match="no augmentation 'cutmixx'; pass some of flip"):
        split_names(["flip", "cutmixx"])
    assert split_names([*BATCHWISE, *IMAGEWISE]) == (list(IMAGEWISE), list(BATCHWISE))


def test_flow_augmentation_mixes_within_classes_in_its_share_of_the_batch():
    torch.manual_seed(0)
    data = stripes(300)
    x, y = (data.images.float() + 0.5) / 256, data.labels
    augment = FlowAugmentation(stripe_flow(), share=0.5, strength=1.0)
    moved, same = augment(x, y)
    changed = (moved != x).flatten(1).any(1)
    assert same is y
    # 300 coins: sd 0.029, so five of them
    assert abs(float(changed.float().mean()) - 0.5) < 0.15
    bright = moved.mean((1, 2)).unfold(1, 2, 3).mean(2)  # (N, 2): the first two stripes
    assert torch.equal(bright.argmax(1)[y < 2], y[y < 2])
    assert torch.equal(FlowAugmentation(stripe_flow(), share=0.0)(x, y)[0], x)
    with pytest.raises(InvalidInputError, match="share is 2"):
        FlowAugmentation(stripe_flow(), share=2)


def test_flow_augmentation_finds_partners_for_images_that_are_alone_in_their_class():
    torch.manual_seed(0)
    data = stripes(300)
    x, y = (data.images[:3].float() + 0.5) / 256, data.labels[:3]
    assert y.unique().numel() == 3
    options = {"share": 1.0, "strength": 1.0}
    assert torch.equal(FlowAugmentation(stripe_flow(), **options)(x, y)[0], x)
    augment = FlowAugmentation(stripe_flow(), **options, partners=data)
    moved, same = augment(x, y)
    assert same is y
    assert (moved != x).flatten(1).any(1).all()
    bright = moved.mean((1, 2)).unfold(1, 2, 3).mean(2)  # (3, 2): the first two stripes
    assert torch.equal(bright.argmax(1)[y < 2], y[y < 2])


def test_partners_come_from_their_set_alone():
    torch.manual_seed(0)
    x, y = torch.zeros(60, *SHAPE), torch.arange(60) % 3
    whole = torch.full((9, *SHAPE), 255, dtype=torch.uint8)
    bright = ImageSet(whole, torch.arange(9) % 3, 3, "bright")
    moved, _ = FlowAugmentation(stripe_flow(), strength=1.0, share=1.0, partners=bright)(x, y)
    assert (moved != x).flatten(1).any(1).all()
    # each of a set is drawn: 300 images, 6000 draws
    data = stripes(300)
    drawn = _Partners(data)(torch.arange(3).repeat(2000))
    assert drawn.min() >= 0 and drawn.max() < 1
    assert len((256 * drawn).floor().unique(dim=0)) == 300


def test_partners_must_be_of_the_flows_classes():
    data = stripes(9)
    two = ImageSet(data.images[:4], torch.arange(4) % 2, 2, "two classes")
    with pytest.raises(InvalidInputError, match="partners has 2 classes, the flow 3"):
        FlowAugmentation(stripe_flow(), partners=two)
    with pytest.raises(InvalidInputError, match=r"class 1 of .* has no image"):
        FlowAugmentation(stripe_flow(), partners=data.subset(data.labels != 1))


def test_flow_augmentation_leaves_what_does_not_decode():
    def decode(z):
        return torch.where(z[:, :1] > 0, z, torch.nan).reshape(-1, *SHAPE)

    x = torch.rand(20, *SHAPE)
    x[:10, 0, 0, 0] = -1.0  # those stay below zero in any mix of their class, and decode to NaN
    y = (torch.arange(20) >= 10).long()
    augment = FlowAugmentation(
        flow_over(LatentGaussians(2, 64, covariance="diagonal", tied=False), decode), share=1.0
    )
    with pytest.warns(RuntimeWarning, match="10 of 20 augmented samples are not finite"):
        moved, _ = augment(x, y)
    assert torch.equal(moved[:10], x[:10])
    assert not (moved[10:] == x[10:]).flatten(1).all(1).any()


def test_a_pipeline_takes_one_mix_a_batch():
    torch.manual_seed(0)
    pipeline = make_pipeline(["cutmix", "mixup"], 2)
    x, y = (
        torch.tensor([0.0, 0.5]).repeat(10)[:, None, None, None].expand(20, 1, 9, 9),
        torch.arange(20) % 2,
    )
    kinds = set()
    for _ in range(20):
        mixed, soft = pipeline(x, y)
        assert soft.shape == (20, 2)
        inside = (mixed > 1e-6) & (mixed < 0.5 - 1e-6)
        kinds.add(bool(inside.any()))  # blends are of mixup alone
    assert kinds == {True, False}
    assert make_pipeline([], 2)(x, y) == (x, y)


def test_the_flow_sees_images_as_they_are():
    x, y = torch.rand(64, *SHAPE), torch.arange(64) % 2

    class Darker:
        def __call__(self, given, labels):
            assert torch.equal(given, x)
            return given / 2, labels

    torch.manual_seed(0)
    moved, same = make_pipeline(["flip"], 2, flow=Darker())(x, y)
    kept, flipped = ((moved == half / 2).flatten(1).all(1) for half in (x, x.flip(-1)))
    assert torch.equal(kept, ~flipped)
    assert kept.any() and flipped.any()
    assert torch.equal(same, y)


# -- training ------------------------------------------------------------------------------


def test_training_learns_and_follows_from_the_seed():
    training, test = stripes(120), stripes(60, seed=1)
    state = torch.get_rng_state()
    losses = []
    for seed in (0, 0, 1):
        model = make_classifier("small_cnn", N_CLASSES, SHAPE, seed=0, **TINY["small_cnn"])
        run = train_classifier(
            model, training, test, replace(SHORT, epochs=5), augment=["crop", "mixup"], seed=seed
        )
        assert run.accuracy > 0.9  # stripes are plain; by chance a third
        assert run.top5 == 1.0  # of three classes all are among five
        losses.append([entry["loss"] for entry in run.history])
    assert losses[0] == losses[1] != losses[2]
    assert torch.equal(torch.get_rng_state(), state)
    assert judge(model, test) == (run.accuracy, run.top5)


def test_flips_follow_the_flow_in_training():
    training = stripes(40)
    known = {picture.numpy().tobytes() for picture in training.images}

    class Watching(FlowAugmentation):
        def __call__(self, x, y):
            assert {p.numpy().tobytes() for p in (256 * x).to(torch.uint8)} <= known
            return super().__call__(x, y)

    model = make_classifier("small_cnn", N_CLASSES, SHAPE, **TINY["small_cnn"])
    flow = Watching(stripe_flow())
    train_classifier(model, training, stripes(9), SHORT, augment=["flip", "crop"], flow=flow)


def test_a_last_batch_of_one_image_is_left_out():
    model = make_classifier("small_cnn", N_CLASSES, SHAPE, **TINY["small_cnn"])
    run = train_classifier(model, stripes(41), stripes(9), replace(SHORT, epochs=1))
    assert len(run.history) == 1


def test_batches_of_one_image_are_refused():
    model = make_classifier("small_cnn", N_CLASSES, SHAPE, **TINY["small_cnn"])
    with pytest.raises(InvalidInputError, match="batch_size is 1; pass at least 2"):
        train_classifier(model, stripes(41), stripes(9), replace(SHORT, batch_size=1))


class Killed(Exception):
    """Stands for the end of a process."""


def test_a_killed_and_resumed_run_equals_an_unbroken_one(tmp_path):
    training, test = stripes(100), stripes(60, seed=1)
    flow = FlowAugmentation(stripe_flow())

    def run(path, kill_at=None):
        model = make_classifier("small_cnn", N_CLASSES, SHAPE, **TINY["small_cnn"])
        calls = iter(range(1000))

        def count(*_):
            if next(calls) == kill_at:
                raise Killed

        model.register_forward_pre_hook(count)
        arguments = {"augment": ["crop", "cutmix"], "flow": flow, "seed": 7, "checkpoint": path}
        return model, train_classifier(model, training, test, SHORT, **arguments)

    unbroken, expected = run(tmp_path / "unbroken.pt")
    path = tmp_path / "made" / "killed.pt"
    with pytest.raises(Killed):
        run(path, kill_at=8)  # five batches an epoch: in the second one
    resumed, result = run(path)
    # the same operations on the same numbers, in one thread or two: equal to the bit
    assert [e["loss"] for e in result.history] == [e["loss"] for e in expected.history]
    assert result.accuracy == expected.accuracy
    for name, value in unbroken.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name
    assert run(path)[1].history == result.history  # finished: nothing is trained again


def test_checkpoints_of_other_runs_are_refused(tmp_path):
    path = tmp_path / "checkpoint.pt"
    recipe = replace(SHORT, epochs=1)

    def run(training=None, recipe=recipe, **options):
        model = make_classifier("small_cnn", N_CLASSES, SHAPE, **TINY["small_cnn"])
        training = stripes(40) if training is None else training
        train_classifier(model, training, stripes(9), recipe, checkpoint=path, **options)

    run()
    for options, words in (
        ({"seed": 1}, "seed was 0, is 1"),
        ({"recipe": SHORT}, "recipe was"),
        ({"augment": ["flip"]}, "augment was"),
        ({"training": stripes(40, seed=1)}, "images was"),
        ({"flow": FlowAugmentation(stripe_flow())}, "flow was"),
        ({"amp": True}, "amp was False, is True"),
    ):
        with pytest.raises(InvalidInputError, match=f"belongs to another run: {words}"):
            run(**options)
    path.unlink()
    run(identity={"weights": 3})
    run(training=stripes(40, seed=1), identity={"weights": 3})  # known by where they come from
    with pytest.raises(InvalidInputError, match="belongs to another run: images was"):
        run(identity={"weights": 4})
    torch.save({"format": "another"}, path)
    with pytest.raises(InvalidInputError, match="not a classifier's"):
        run()
    path.write_bytes(b"broken")
    with pytest.raises(InvalidInputError, match="cannot be read"):
        run()


def test_a_checkpoint_from_before_a_setting_was_kept_is_read(tmp_path):
    path = tmp_path / "checkpoint.pt"

    def run():
        model = make_classifier("small_cnn", N_CLASSES, SHAPE, **TINY["small_cnn"])
        return train_classifier(model, stripes(40), stripes(9), SHORT, checkpoint=path)

    first = run()
    content = torch.load(path, weights_only=True)
    settings = json.loads(content["settings"])
    del settings["amp"]
    torch.save(content | {"settings": json.dumps(settings)}, path)
    assert run().history == first.history


def test_a_flow_is_known_by_what_was_trained(tmp_path):
    path = tmp_path / "checkpoint.pt"
    flow = ClassFlow(
        make_flow("coupling", SHAPE, hidden=8),
        LatentGaussians(N_CLASSES, 64, covariance="diagonal", tied=False),
    )
    flow.encode(torch.rand(2, *SHAPE))

    def run():
        model = make_classifier("small_cnn", N_CLASSES, SHAPE, **TINY["small_cnn"])
        mover = FlowAugmentation(flow)
        return train_classifier(model, stripes(40), stripes(9), SHORT, flow=mover, checkpoint=path)

    first = run()
    flow.gaussians.means.add_(1e-12)  # estimated once more, by sums in another order
    assert run().history == first.history
    with torch.no_grad():
        next(flow.codec.parameters()).add_(1e-3)
    with pytest.raises(InvalidInputError, match="flow was"):
        run()


@pytest.mark.parametrize("clip", [None, 1.0])
def test_a_gradient_that_is_not_finite_stops_even_the_last_step(clip):
    model = make_classifier("small_cnn", N_CLASSES, SHAPE, **TINY["small_cnn"])
    seen = []

    def spoil_the_last(gradient):
        seen.append(gradient)
        return gradient * (math.nan if len(seen) == 6 else 1.0)

    next(model.parameters()).register_hook(spoil_the_last)
    with pytest.raises(FloatingPointError, match=r"gradient's size is nan at step 5 \(epoch 2\)"):
        train_classifier(model, stripes(40), stripes(9), replace(SHORT, clip=clip))


def test_a_loss_that_is_not_finite_stops_and_its_batch_is_saved(tmp_path):
    class Bad(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(3))
            self.n_calls = 0

        def forward(self, x):
            self.n_calls += 1
            return self.weight.expand(len(x), 3) / (0.0 if self.n_calls == 4 else 1.0)

    path = tmp_path / "checkpoint.pt"
    with pytest.raises(FloatingPointError, match=r"nan at step 3 \(epoch 1\).*nonfinite_batch"):
        train_classifier(Classifier(Bad()), stripes(40), stripes(9), SHORT, checkpoint=path)
    batch = torch.load(tmp_path / "nonfinite_batch.pt", weights_only=True)
    assert batch["x"].shape == (20, *SHAPE)
    assert batch["step"] == 3


def test_images_must_fit_together():
    model = make_classifier("small_cnn", N_CLASSES, SHAPE)
    other = ImageSet(torch.zeros(9, 1, 7, 7, dtype=torch.uint8), stripes(9).labels, 3, "others")
    with pytest.raises(
        InvalidInputError, match=r"stripes: 3 classes .*, but others: .*\(1, 7, 7\)"
    ):
        train_classifier(model, stripes(40), other, SHORT)


# -- generated images ----------------------------------------------------------------------


def test_generated_images_are_balanced_and_follow_from_the_seed():
    model = stripe_flow()
    model.train()
    first, again, other = (generate_images(model, 31, seed=seed) for seed in (0, 0, 1))
    assert torch.bincount(first.labels).tolist() == [11, 10, 10]
    assert first.images.dtype == torch.uint8
    assert first.image_shape == SHAPE
    assert torch.equal(first.images, again.images)
    assert not torch.equal(first.images, other.images)
    assert model.training
    # temperature 0 gives the means, whose gray levels are floor(256 mean)
    means = generate_images(model, 3, 0.0).images.flatten(1)
    expected = (256 * model.gaussians.means).float().floor()
    assert torch.equal(means.float(), expected)


def test_broken_pixels_are_told_of_and_others_clipped():
    def decode(z):
        x = z.clone()
        x[0, 0], x[1, 0], x[2, 0] = torch.nan, torch.inf, -3.0
        return x.reshape(-1, *SHAPE)

    with pytest.warns(RuntimeWarning, match="1 of 6 generated images"):
        images = generate_images(
            flow_over(LatentGaussians(3, 64, covariance="diagonal", tied=False), decode), 6
        ).images
    assert images[:3, 0, 0, 0].tolist() == [128, 255, 0]


def test_generation_refuses_what_does_not_fit():
    with pytest.raises(InvalidInputError, match="sample has 3 classes in 63 dimensions"):
        generate_images(
            stripe_flow(), 9, sample=LatentGaussians(3, 63, covariance="diagonal", tied=False)
        )
    with pytest.raises(InvalidInputError, match="n_images is 2; pass at least one"):
        generate_images(stripe_flow(), 2)


def test_cnn_accuracy_is_high_for_a_good_flow_and_low_for_wrong_labels():
    test = stripes(90, seed=1)
    right, wrong = stripe_flow(), stripe_flow(flipped=True).gaussians
    arguments = {"seed": 0, "epochs": 4, "batch_size": 20}
    assert cnn_accuracy(right, 120, 1.0, test, **arguments) > 0.9
    assert cnn_accuracy(right, 120, 1.0, test, sample=wrong, **arguments) < 0.1
    with pytest.raises(InvalidInputError, match="no classifier 'cnn'"):
        cnn_accuracy(right, 120, 1.0, test, classifier="cnn", seed=0)


# -- the script ----------------------------------------------------------------------------


def test_the_script_writes_a_record_and_goes_on(script, tmp_path, capsys):
    command = ["small_cnn", "--data", "digits", "--limit", "200", "--epochs", "2", "--augment"]
    command += ["standard", "cutmix", "--batch-size", "50", "--folder", str(tmp_path)]
    assert script.main(command) == 0
    (path,) = tmp_path.glob("small_cnn-*.json")
    record = json.loads(path.read_text())
    assert record["key"] == path.stem
    assert record["config"]["augment"] == ["flip", "crop", "cutmix"]
    assert record["config"]["recipe"]["batch_size"] == 50
    assert record["metrics"]["n_parameters"] == 67_442
    assert len(record["history"]) == 2
    assert script.main(command) == 0
    assert json.loads(path.read_text())["history"] == record["history"]
    assert f"wrote {path}" in capsys.readouterr().out


def test_the_script_says_what_is_wrong(script, tmp_path, capsys):
    start = ["small_cnn", "--folder", str(tmp_path)]
    assert script.main(start) == 1
    assert "give --data; or --flow" in capsys.readouterr().err
    assert script.main([*start, "--flow", "flow.toml", "--data", "digits"]) == 1
    assert "--flow needs --flow-folder" in capsys.readouterr().err
    assert script.main([*start, "--data", str(tmp_path / "none.npz")]) == 1
    assert "does not exist" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--seed", "-1"], "--seed is -1; pass an int >= 0"),
        (["--batch-size", "1"], "batch_size is 1; pass at least 2"),
        (["--device", "meta"], "device 'meta' cannot be used here"),
    ],
)
def test_the_script_refuses_options(script, given, words, tmp_path, capsys):
    command = ["small_cnn", "--data", "digits", "--limit", "100", "--folder", str(tmp_path)]
    assert script.main([*command, *given]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"train_classifier.py: {words}")
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--strength", "0.1"], "--strength has no effect without --flow"),
        (["--flow-folder", "x"], "--flow-folder has no effect without --flow"),
        (["--set", "a.b=c"], "--set has no effect without --flow"),
        (["--generate", "50"], "--generate has no effect without --flow"),
        (["--temperature", "0"], "--temperature has no effect without --flow"),
    ],
)
def test_options_of_a_flow_are_refused_without_one(script, given, words, tmp_path, capsys):
    command = ["small_cnn", "--data", "digits", "--folder", str(tmp_path / "run"), *given]
    assert script.main(command) == 1
    assert words in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.fixture
def of_flow(tmp_path):
    """Return options that name a flow of digits, which no folder contains."""
    config = tmp_path / "flow.toml"
    config.write_text('[data]\nsource = "digits"\n')
    return ["--flow", str(config), "--flow-folder", str(tmp_path / "flow")]


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--share", "2"], "share is 2.0"),
        (["--strength", "3"], "strength is 3;"),
        (["--axes", "65"], "n_axes is 65"),
        (["--limit", "5"], "a limit of 5 images"),
        (["--generate", "5"], "n_images is 5"),
        (["--generate", "50", "--temperature", "-1"], "temperature is -1"),
        (["--generate", "50", "--limit", "20"], "--limit has no effect with --generate"),
        (["--generate", "50", "--axes", "2"], "--axes has no effect with --generate"),
        (["--reestimate"], "--reestimate has no effect without --generate"),
    ],
)
def test_options_are_refused_before_a_flow_is_trained(
    script, given, words, of_flow, tmp_path, capsys
):
    folder = ["--folder", str(tmp_path / "run")]
    assert script.main(["small_cnn", *of_flow, *folder, *given]) == 1
    assert words in capsys.readouterr().err
    assert not (tmp_path / "flow").exists()


def test_a_classifier_and_its_flow_need_folders_of_their_own(script, of_flow, tmp_path, capsys):
    folder = ["--folder", str(tmp_path / "flow" / ".." / "flow")]
    assert script.main(["small_cnn", *of_flow, *folder]) == 1
    assert "--folder and --flow-folder are the same" in capsys.readouterr().err
    assert not (tmp_path / "flow").exists()


def test_a_classifier_that_cannot_be_trained_is_refused_before_its_flow(
    script, of_flow, tmp_path, capsys
):
    assert script.main(["eva02", *of_flow, "--folder", str(tmp_path / "run")]) == 1
    # without timm it says so; with it, that digits have no colors
    assert "eva02" in capsys.readouterr().err
    assert not (tmp_path / "flow").exists()


def test_records_tell_settings_and_images_apart_and_name_no_folder(script, tmp_path):
    def record(name, *options, bright=0):
        place = tmp_path / name
        place.mkdir()
        x = stripes(40).images[:, 0].numpy() + np.uint8(bright)
        y = stripes(40).labels.numpy()
        np.savez(place / "images.npz", x_train=x, y_train=y, x_test=x, y_test=y)
        command = ["small_cnn", "--data", str(place / "images.npz"), "--epochs", "1"]
        assert script.main([*command, "--folder", str(place / "run"), *options]) == 0
        (path,) = (place / "run").glob("small_cnn-*.json")
        return json.loads(path.read_text())

    first, again, other = record("a"), record("b"), record("c", bright=1)
    assert first["config"] == again["config"]
    assert first["config"]["data"] == {"source": "images.npz", "size": None}
    assert first["key"] == again["key"] != record("d", "--amp")["key"]
    assert first["data"] == again["data"]
    assert first["data"]["training"]["fingerprint"] != other["data"]["training"]["fingerprint"]
    assert str(tmp_path) not in json.dumps(first)


def test_the_script_trains_on_images_of_a_flow_and_on_augmented_ones(script, tmp_path):
    config = tmp_path / "flow.toml"
    config.write_text(
        '[data]\nsource = "digits"\nlimit = 200\n[flow]\nname = "coupling"\n'
        "options = { n_couplings = 2, hidden = 16 }\n[gaussians]\nepochs = [0]\nlam = 1e3\n"
        "[training]\nepochs = 1\nbatch_size = 50\n"
    )
    command = ["small_cnn", "--flow", str(config), "--flow-folder", str(tmp_path / "flow")]
    command += ["--epochs", "1", "--folder"]
    assert script.main([*command, str(tmp_path / "augmented"), "--axes", "8"]) == 0
    generating = [str(tmp_path / "generated"), "--generate", "100", "--reestimate"]
    assert script.main([*command, *generating]) == 0
    for name, n_images in (("augmented", 200), ("generated", 100)):
        (path,) = (tmp_path / name).glob("small_cnn-*.json")
        found = json.loads(path.read_text())["config"]
        assert found["images"] == n_images
        assert found["flow"]["training"]["epochs"] == 1
        if name == "augmented":
            assert found["flow_augmentation"]["partners"] == 200
