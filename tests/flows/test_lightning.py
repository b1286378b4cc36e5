"""Refits by a Lightning trainer, of both packages."""

import copy
import importlib
import itertools
import subprocess
import sys

import pytest
import torch
from coupling import Coupling, CouplingCodec, coupling_model
from helpers import blobs
from torch.optim.swa_utils import get_ema_avg_fn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from fpigauss import CallableRepulsion, FixedPoint, InvalidInputError, Status
from fpigauss_torch import ClassFlow, FixedPointSchedule, LatentGaussians, refit_

pytest.importorskip("lightning", reason='pip install "fpigauss[lightning]"')

from lightning.pytorch import callbacks
from lightning.pytorch.callbacks import Callback, ModelCheckpoint

from fpigauss_torch.lightning import FixedPointCallback

N_CLASSES, DIM = 3, 4

averages = pytest.mark.skipif(
    not hasattr(callbacks, "WeightAveraging"), reason="this lightning has no WeightAveraging"
)

pytestmark = [
    # Lightning itself uses a pytree class that torch has deprecated
    pytest.mark.filterwarnings(
        r"ignore:`isinstance\(treespec, LeafSpec\)` is deprecated:FutureWarning"
    ),
    # Lightning's advice on machines with more cores
    pytest.mark.filterwarnings(r"ignore:The '\w+' does not have many workers:UserWarning"),
]


def data(seed=0):
    x, y = blobs(N_CLASSES, DIM, 40, seed=seed, spread=2.0)
    return torch.as_tensor(x, dtype=torch.float32), torch.as_tensor(y)


def loader(seed=0, shuffle=False):
    return DataLoader(TensorDataset(*data(seed)), batch_size=32, shuffle=shuffle)


def module_class(package):
    lightning_module = importlib.import_module(package).LightningModule

    class Module(lightning_module):
        """A flow to train, which records the Gaussians that it trained and validated with."""

        def __init__(self, attribute="model"):
            super().__init__()
            setattr(self, attribute, coupling_model(N_CLASSES, DIM))
            self.held = attribute
            self.trained, self.validated = [], []

        @property
        def flow(self):
            return getattr(self, self.held)

        def training_step(self, batch, _):
            self.trained.append((self.current_epoch, self.flow.gaussians.means.clone()))
            return self.flow(*batch).mean()

        def validation_step(self, batch, _):
            self.validated.append((self.current_epoch, self.flow.gaussians.means.clone()))
            self.log("loss", self.flow(*batch).mean())

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.01)

    return Module


def fitted(
    package,
    callback,
    *,
    validated=True,
    module=None,
    max_epochs=2,
    ckpt_path=None,
    train=None,
    **options,
):
    """Return a trainer and its module after training."""
    module = module_class(package)() if module is None else module
    trainer = importlib.import_module(package).Trainer(
        max_epochs=max_epochs,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=1.0 if validated else 0,
        **{"enable_checkpointing": False, **options},
        callbacks=callback,
    )
    train = loader(shuffle=True) if train is None else train
    trainer.fit(module, train, loader(seed=1), ckpt_path=ckpt_path)
    return trainer, module


def distinct(seen):
    """Return (epoch, means) without repetitions."""
    kept = []
    for epoch, means in seen:
        if not kept or kept[-1][0] != epoch or not torch.equal(kept[-1][1], means):
            kept.append((epoch, means))
    return kept


PACKAGES = ["lightning.pytorch", "pytorch_lightning"]


@pytest.mark.parametrize("package", PACKAGES)
def test_refits_as_the_first_epoch_starts_and_then_before_validation(package):
    callback = FixedPointCallback(FixedPointSchedule(0.5, (0, 1)), loader())
    trainer, module = fitted(package, callback)
    sanity, *validated = distinct(module.validated)
    assert not sanity[1].any()  # N(0, I): there is no refit for the sanity check
    trained = distinct(module.trained)
    assert [epoch for epoch, _ in trained] == [0, 1]  # no refit within an epoch
    assert [epoch for epoch, _ in validated] == [0, 1]
    (_, first), (_, second) = trained
    assert not torch.equal(first, second)
    assert torch.equal(
        validated[0][1], second
    )  # epoch 0 is validated with the Gaussians that epoch 1 trains with
    assert torch.equal(validated[1][1], second)  # and frozen
    assert torch.equal(callback.result.gaussians.means, second)
    logged = trainer.callback_metrics
    assert float(logged["fixed_point/n_iter"]) == callback.result.n_iter
    assert float(logged["fixed_point/objective"]) == pytest.approx(callback.result.objective)
    assert float(logged["fixed_point/residual"]) == pytest.approx(callback.result.residual)
    assert float(logged["fixed_point/converged"]) == 1.0
    assert callback.result.status is Status.CONVERGED


@pytest.mark.parametrize("package", PACKAGES)
def test_refits_as_epochs_start_where_there_is_no_validation(package):
    callback = FixedPointCallback(FixedPointSchedule(0.5, (0, 2)), loader())
    _, module = fitted(package, callback, validated=False, max_epochs=3)
    trained = distinct(module.trained)
    assert [epoch for epoch, _ in trained] == [0, 1, 2]
    assert torch.equal(trained[0][1], trained[1][1])
    assert not torch.equal(trained[1][1], trained[2][1])


def test_refits_as_epochs_start_where_validations_are_rarer():
    callback = FixedPointCallback(FixedPointSchedule(0.5, range(3)), loader())
    options = {"check_val_every_n_epoch": 2, "num_sanity_val_steps": 0}
    _, module = fitted(PACKAGES[0], callback, max_epochs=3, **options)
    assert len(distinct(module.trained)) == 3
    ((epoch, means),) = distinct(module.validated)
    assert epoch == 1
    assert torch.equal(means, distinct(module.trained)[2][1])


def test_does_not_refit_within_an_epoch_that_is_validated_often():
    callback = FixedPointCallback(FixedPointSchedule(0.5, range(5)), loader())
    _, module = fitted(PACKAGES[0], callback, val_check_interval=1, num_sanity_val_steps=0)
    assert [epoch for epoch, _ in distinct(module.trained)] == [0, 1]
    # twice in epoch 0: with its own Gaussians, and at its end with those of epoch 1
    assert [epoch for epoch, _ in distinct(module.validated)] == [0, 0, 1]


def test_a_validation_on_its_own_refits_nothing():
    callback = FixedPointCallback(FixedPointSchedule(0.5, range(9)), loader())
    trainer, module = fitted(PACKAGES[0], callback)
    before = callback.result
    trainer.validate(module, loader(seed=1), verbose=False)
    assert callback.result is before


def test_the_sanity_check_of_a_second_run_refits_nothing():
    module = module_class(PACKAGES[0])()
    refits = []

    def lam(epoch):
        refits.append((epoch, module.trainer.sanity_checking))
        return 0.5

    callback = FixedPointCallback(FixedPointSchedule(lam, range(9)), loader())
    trainer, _ = fitted(PACKAGES[0], callback, module=module)
    trainer.fit_loop.max_epochs = 3
    trainer.fit(module, loader(), loader(seed=1))
    assert refits == [(epoch, False) for epoch in range(3)]


def test_a_checkpoint_has_the_gaussians_that_its_metric_is_of(tmp_path):
    callback = FixedPointCallback(FixedPointSchedule(0.5, range(4)))
    checkpoint = ModelCheckpoint(tmp_path, monitor="loss", mode="min", save_top_k=1)
    trainer, module = fitted(
        PACKAGES[0], [callback, checkpoint], max_epochs=3, enable_checkpointing=True
    )
    saved = torch.load(checkpoint.best_model_path, weights_only=True)
    by_epoch = dict(module.validated)  # without the sanity check
    assert torch.equal(saved["state_dict"]["model.gaussians.means"], by_epoch[saved["epoch"]])
    fresh = module_class(PACKAGES[0])()
    fresh.load_state_dict(saved["state_dict"])
    with torch.no_grad():
        losses = [fresh.model(x, y).sum() for x, y in loader(seed=1)]
    # float32 sums of 120 terms
    assert float(sum(losses) / 120) == pytest.approx(float(checkpoint.best_model_score), rel=1e-5)
    assert trainer.current_epoch == 3


def test_a_run_that_goes_on_does_not_refit_again(tmp_path):
    schedule = FixedPointSchedule(0.5, (0, 1))

    class Saving(Callback):
        def on_train_epoch_end(self, trainer, _):
            trainer.save_checkpoint(tmp_path / f"{trainer.current_epoch}.ckpt")

    _, module = fitted(PACKAGES[0], [FixedPointCallback(schedule), Saving()])
    callback, again = FixedPointCallback(schedule), module_class(PACKAGES[0])()
    fitted(PACKAGES[0], callback, module=again, ckpt_path=tmp_path / "0.ckpt")
    assert [epoch for epoch, _ in distinct(again.trained)] == [1]
    assert callback.result is None
    assert torch.equal(again.model.gaussians.means, module.model.gaussians.means)


@pytest.mark.parametrize("package", PACKAGES)
@pytest.mark.parametrize("validated", [False, True])
def test_a_callback_that_is_used_again_refits_again(package, validated):
    callback = FixedPointCallback(FixedPointSchedule(0.5, (0, 1)), loader())
    first, second = (fitted(package, callback, validated=validated)[1] for _ in range(2))
    assert second.flow.gaussians.n_swaps == first.flow.gaussians.n_swaps == 2
    assert callback.result is not None


def test_a_callback_that_is_used_again_takes_its_state_from_the_checkpoint(tmp_path):
    schedule = FixedPointSchedule(0.5, (0, 1, 2))
    callback = FixedPointCallback(schedule)
    trainer, _ = fitted(PACKAGES[0], callback, max_epochs=2, validated=False)
    trainer.save_checkpoint(tmp_path / "run.ckpt")
    fitted(PACKAGES[0], callback, max_epochs=3, validated=False)
    again = module_class(PACKAGES[0])()
    _, again = fitted(
        PACKAGES[0],
        callback,
        module=again,
        max_epochs=3,
        validated=False,
        ckpt_path=tmp_path / "run.ckpt",
    )
    assert [epoch for epoch, _ in distinct(again.trained)] == [2]
    assert callback.result is not None  # that of epoch 2


@pytest.mark.parametrize("package", PACKAGES)
@pytest.mark.parametrize(
    "limits",
    [{"max_epochs": 2}, {"max_epochs": -1, "max_steps": 8}, {"max_epochs": 9, "max_steps": 5}],
    ids=["epochs", "steps", "steps within an epoch"],
)
def test_validation_does_not_change_the_result(package, limits):
    def final(validated):
        callback = FixedPointCallback(FixedPointSchedule(0.5, range(9)), loader())
        # the sanity check, if any, draws random numbers that shuffle the training data
        torch.manual_seed(0)
        return fitted(package, callback, validated=validated, num_sanity_val_steps=0, **limits)[1]

    alone, validated = final(False), final(True)
    assert validated.flow.gaussians.n_swaps == alone.flow.gaussians.n_swaps == 2
    assert len(validated.trained) == len(alone.trained)


def test_a_stop_that_was_asked_for_in_training_is_followed_by_no_refit():
    class Stop(Callback):
        def on_train_batch_end(self, trainer, *_):
            trainer.should_stop = trainer.current_epoch >= 1

    callback = FixedPointCallback(FixedPointSchedule(0.5, range(9)), loader())
    _, module = fitted(PACKAGES[0], [callback, Stop()], max_epochs=9)
    assert module.flow.gaussians.n_swaps == 2
    callback = FixedPointCallback(FixedPointSchedule(0.5, range(9)), loader())
    _, module = fitted(PACKAGES[0], [callback, Stop()], max_epochs=9, min_epochs=3)
    assert module.flow.gaussians.n_swaps == 3


class Pair(module_class(PACKAGES[0])):
    """Two flows that are trained together."""

    def __init__(self):
        super().__init__()
        self.other = coupling_model(N_CLASSES, DIM)

    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx) + self.other(*batch).mean()


def test_callbacks_of_two_flows_keep_their_states_apart(tmp_path):
    def pair():
        return [
            FixedPointCallback(FixedPointSchedule(0.5, (0, 1))),
            FixedPointCallback(FixedPointSchedule(0.5, [0]), attribute="other"),
        ]

    trainer, module = fitted(PACKAGES[0], pair(), module=Pair(), max_epochs=1)
    assert module.model.gaussians.n_swaps == module.other.gaussians.n_swaps == 1
    trainer, module = fitted(PACKAGES[0], pair(), module=Pair(), max_epochs=2)
    trainer.save_checkpoint(tmp_path / "run.ckpt")
    callbacks = pair()
    fitted(PACKAGES[0], callbacks, module=Pair(), max_epochs=2, ckpt_path=tmp_path / "run.ckpt")
    assert [callback.state_dict() for callback in callbacks] == [{"latest": 1}, {"latest": 0}]


def test_callbacks_that_differ_only_in_lam_keep_their_states_apart(tmp_path):
    def pair(lams):
        return [FixedPointCallback(FixedPointSchedule(lam, [0, 1])) for lam in lams]

    trainer, _ = fitted(PACKAGES[0], pair([0.5, 0.7]), max_epochs=1)
    trainer.save_checkpoint(tmp_path / "run.ckpt")
    saved = torch.load(tmp_path / "run.ckpt", weights_only=True)
    assert len(saved["callbacks"]) == 2


SCHEDULES = {
    "lam": lambda: FixedPointSchedule(0.5),
    "another lam": lambda: FixedPointSchedule(0.7),
    "lam in the fit": lambda: FixedPointSchedule(fit=FixedPoint(0.6)),
    "no lam": FixedPointSchedule,
    "a function": lambda: FixedPointSchedule(lambda epoch: 0.5, lambda epoch: epoch < 2),
    "another pi": lambda: FixedPointSchedule(0.5, fit=FixedPoint(pi=lambda kld: kld.mean())),
    "a pi as an object": lambda: FixedPointSchedule(
        0.5, fit=FixedPoint(pi=CallableRepulsion(lambda kld: kld.mean()))
    ),
}


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_key_of_the_state_is_the_same_in_every_process(schedule):
    keys = [FixedPointCallback(SCHEDULES[schedule]()).state_key for _ in range(2)]
    assert keys[0] == keys[1]
    assert "0x" not in keys[0]


def test_the_key_of_the_state_tells_schedules_apart():
    assert len({FixedPointCallback(made()).state_key for made in SCHEDULES.values()}) == len(
        SCHEDULES
    )


FORMER = "{'attribute': 'model', 'epochs': (0, 1, 2, 3, 4, 5, 6, 7, 8), 'at_end': False}"


@pytest.mark.parametrize("key", ["FixedPointCallback", f"FixedPointCallback{FORMER}"])
def test_states_of_former_checkpoints_are_loaded(key, tmp_path):
    schedule = FixedPointSchedule(0.5, range(9))
    trainer, _ = fitted(PACKAGES[0], FixedPointCallback(schedule), max_epochs=1)
    trainer.save_checkpoint(tmp_path / "run.ckpt")
    saved = torch.load(tmp_path / "run.ckpt", weights_only=True)
    saved["callbacks"] = {key: {"latest": 1}}
    torch.save(saved, tmp_path / "run.ckpt")
    callback = FixedPointCallback(schedule)
    with pytest.warns(UserWarning, match="callbacks used to create the checkpoint"):
        fitted(PACKAGES[0], callback, ckpt_path=tmp_path / "run.ckpt")
    assert callback.result is None


@pytest.mark.parametrize("package", PACKAGES)
@pytest.mark.parametrize("given", [False, True], ids=["the trainer's", "given"])
def test_persistent_workers_train_in_every_epoch(package, given):
    class Ours(DataLoader):
        """A subclass, which refits keep."""

    def run(persistent):
        torch.manual_seed(0)
        module = module_class(package)()
        batches = Ours(
            TensorDataset(*data()), 32, shuffle=True, num_workers=1, persistent_workers=persistent
        )
        callback = FixedPointCallback(FixedPointSchedule(0.5), batches if given else None)
        fitted(package, callback, module=module, validated=False, max_epochs=3, train=batches)
        assert batches.persistent_workers is persistent
        return module

    alone, persistent = run(False), run(True)
    assert [epoch for epoch, _ in persistent.trained] == [0] * 4 + [1] * 4 + [2] * 4
    assert persistent.flow.gaussians.n_swaps == alone.flow.gaussians.n_swaps == 2


class Scaled(module_class(PACKAGES[0])):
    """A flow whose module scales what is loaded, as dicts, by a buffer."""

    def __init__(self):
        super().__init__()
        self.register_buffer("scale", torch.tensor(8.0))

    def scaled(self, batch):
        assert batch["x"].device == self.scale.device
        return batch["x"] / self.scale, batch["y"]

    def training_step(self, batch, batch_idx):
        return super().training_step(self.scaled(batch), batch_idx)


class Remembering(Scaled):
    def prepare_refit_batch(self, batch):
        return self.scaled(batch)


@pytest.mark.parametrize("precision", ["32-true", "bf16-true"])
@pytest.mark.parametrize("own", [False, True], ids=["passed", "the module's own"])
def test_batches_are_prepared_as_the_training_step_does(own, precision):
    x, y = data()
    rows = [{"x": 8 * sample, "y": label} for sample, label in zip(x, y, strict=True)]
    module = Remembering() if own else Scaled()
    callback = FixedPointCallback(
        FixedPointSchedule(0.5, [0], warm_up=1), prepare=None if own else module.scaled
    )
    options = {"validated": False, "max_epochs": 1, "precision": precision}
    fitted(PACKAGES[0], callback, module=module, train=DataLoader(rows, 32), **options)
    plain = FixedPointCallback(FixedPointSchedule(0.5, [0], warm_up=1))
    _, expected = fitted(PACKAGES[0], plain, train=loader(), **options)
    # powers of two scale without rounding
    assert torch.equal(module.flow.gaussians.means, expected.flow.gaussians.means)


class Standardizing(module_class(PACKAGES[0])):
    """A flow whose module changes what the loader yields."""

    def __init__(self, change):
        super().__init__()
        self.change = change

    def training_step(self, batch, batch_idx):
        return super().training_step((self.change(batch[0]), batch[1]), batch_idx)


CHANGES = {
    "scaled": lambda x: x / 4.0,
    "shifted": lambda x: x - 50.0,
}
AUGMENTATIONS = {
    "nothing": lambda x: x,
    "noise": lambda x: x + 0.5 * torch.randn_like(x),
    "other rows": lambda x: x.flip(0),
    "other axes": lambda x: x.flip(1),
    "mixed": lambda x: 0.5 * (x + x.flip(0)),
}


def trained_with(change, callback, **options):
    module = Standardizing(change)
    fitted(PACKAGES[0], callback, module=module, validated=False, max_epochs=2, **options)
    assert not module.flow._forward_pre_hooks
    return module


@pytest.mark.parametrize("change", CHANGES)
def test_batches_that_the_training_step_prepares_by_itself_are_warned_about(change):
    callback = FixedPointCallback(FixedPointSchedule(0.5))
    with pytest.warns(UserWarning, match=r"^training_step gives .* prepare_refit_batch") as caught:
        trained_with(CHANGES[change], callback)
    assert len([w for w in caught if "training_step gives" in str(w.message)]) == 1


@pytest.mark.parametrize("change", AUGMENTATIONS)
def test_augmented_batches_are_not_warned_about(change):
    trained_with(AUGMENTATIONS[change], FixedPointCallback(FixedPointSchedule(0.5)))


@pytest.mark.parametrize("given", ["loader", "prepare"])
def test_a_loader_or_a_function_that_prepares_is_not_warned_about(given):
    x, y = data()
    options = {
        "loader": {"loader": DataLoader(TensorDataset(x / 4.0, y), 32)},
        "prepare": {"prepare": lambda batch: (batch[0] / 4.0, batch[1])},
    }[given]
    trained_with(CHANGES["scaled"], FixedPointCallback(FixedPointSchedule(0.5), **options))


def test_a_step_that_fails_leaves_no_hook():
    def fail(x):
        raise ZeroDivisionError

    module = Standardizing(fail)
    with pytest.raises(ZeroDivisionError):
        fitted(PACKAGES[0], FixedPointCallback(FixedPointSchedule(0.5)), module=module)
    assert not module.flow._forward_pre_hooks


def test_an_explicit_prepare_comes_before_that_of_the_module():
    seen = []

    class Other(Scaled):
        def prepare_refit_batch(self, batch):
            raise AssertionError("prepare= was passed")

    module = Other()

    def prepare(batch):
        seen.append(len(batch["y"]))
        return module.scaled(batch)

    x, y = data()
    rows = [{"x": sample, "y": label} for sample, label in zip(x, y, strict=True)]
    callback = FixedPointCallback(FixedPointSchedule(0.5, [0]), prepare=prepare)
    fitted(
        PACKAGES[0],
        callback,
        module=module,
        train=DataLoader(rows, 32),
        validated=False,
        max_epochs=1,
    )
    assert seen == [32, 32, 32, 24]


class Endless(IterableDataset):
    """The rows of ``data()``, over and over, or once."""

    def __init__(self, ends=False):
        self.ends = ends

    def __iter__(self):
        rows = list(zip(*data(), strict=True))
        return iter(rows) if self.ends else itertools.cycle(rows)


def rows_read(train=None, given=None, max_batches=None, **options):
    """Return how many rows the only refit reads."""
    module, read = module_class(PACKAGES[0])(), []
    callback = FixedPointCallback(
        FixedPointSchedule(0.5, [0]),
        given,
        prepare=lambda batch: (read.append(len(batch[0])), batch)[1],
        max_batches=max_batches,
    )
    options = {"validated": False, "max_epochs": 1, **options}
    fitted(PACKAGES[0], callback, module=module, train=train, **options)
    return sum(read)


def test_the_trainers_limits_hold_for_refits():
    assert rows_read() == 120
    assert rows_read(limit_train_batches=2) == 64
    assert rows_read(limit_train_batches=0.5) == 64
    assert rows_read(DataLoader(Endless(), 32), limit_train_batches=3) == 96
    # the limits are those of the trainer's loader, not of another one
    assert rows_read(given=loader(), limit_train_batches=2) == 120
    assert rows_read(max_batches=3) == 96
    assert rows_read(given=loader(), max_batches=3) == 96
    assert rows_read(DataLoader(Endless(), 32), limit_train_batches=1, max_batches=4) == 128


def test_a_trial_run_reads_all_that_there_is():
    assert rows_read(fast_dev_run=True) == 120
    assert rows_read(DataLoader(Endless(), 60), fast_dev_run=2) == 120


def test_a_limit_that_leaves_out_a_class_is_named():
    x, y = data()
    order = y.argsort()
    sorted_rows = DataLoader(TensorDataset(x[order], y[order]), 30)
    with pytest.raises(InvalidInputError, match="no sample of class") as caught:
        rows_read(sorted_rows, limit_train_batches=1)
    assert "lets this refit read 1 batches" in caught.value.__notes__[-1]
    with pytest.raises(InvalidInputError, match="no sample of class") as caught:
        rows_read(sorted_rows, max_batches=1)
    assert not getattr(caught.value, "__notes__", [])


def test_a_stream_without_limits_is_warned_about():
    stream = DataLoader(Endless(ends=True), 32)
    with pytest.warns(UserWarning, match=r"^loader reads a Endless without .*max_batches="):
        assert rows_read(stream) == 120


@pytest.mark.parametrize("limit", [0, 0.5])
def test_refuses_limits_that_are_no_number_of_batches(limit):
    with pytest.raises(InvalidInputError, match=r"^max_batches is .*; pass an integer >= 1"):
        FixedPointCallback(FixedPointSchedule(0.5), max_batches=limit)


def test_warms_up_and_uses_the_trainers_loader_and_other_attributes():
    module = module_class(PACKAGES[0])("density")
    modes = []
    module.density.codec.module.register_forward_pre_hook(
        lambda coupling, _: modes.append(coupling.training)
    )
    callback = FixedPointCallback(FixedPointSchedule(0.5, warm_up=2), attribute="density")
    fitted(PACKAGES[0], callback, module=module, validated=False, max_epochs=1)
    # four batches: two of the warm-up, the pass, the epoch
    assert modes == [True] * 2 + [False] * 4 + [True] * 4


def test_a_module_that_is_the_flow():
    lightning_module = importlib.import_module(PACKAGES[0]).LightningModule

    class Flow(ClassFlow, lightning_module):
        def training_step(self, batch, _):
            return self(*batch).mean()

        validation_step = training_step

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.01)

    module = Flow(
        Coupling(DIM),
        LatentGaussians(N_CLASSES, DIM, covariance="diagonal", tied=False),
        codec=CouplingCodec,
    )
    callback = FixedPointCallback(FixedPointSchedule(0.5))
    fitted(PACKAGES[0], callback, module=module, validated=False, max_epochs=1)
    assert torch.equal(module.gaussians.means, callback.result.gaussians.means)


def test_bfloat16_flows_keep_their_gaussians_in_float64():
    callback = FixedPointCallback(FixedPointSchedule(0.5))
    _, module = fitted(PACKAGES[0], callback, precision="bf16-true", max_epochs=2)
    assert callback.result.converged
    assert next(module.model.codec.parameters()).dtype == torch.bfloat16
    assert module.model.gaussians.means.dtype == torch.float64


# -- averaged weights ----------------------------------------------------------------------


class Compared(Callback):
    """Check that validated Gaussians are fitted to the latents of the validated weights."""

    def __init__(self):
        self.own = []

    def on_validation_batch_start(self, trainer, pl_module, batch, batch_idx):
        if batch_idx == 0 and not trainer.sanity_checking:
            alone = copy.deepcopy(pl_module.model)
            refit_(alone, loader(), 0.5)
            self.own.append(torch.equal(alone.gaussians.means, pl_module.model.gaussians.means))


@averages
@pytest.mark.parametrize("use_buffers", [False, True])
@pytest.mark.parametrize("refits_copies", [False, True])
def test_averaged_weights_are_validated_with_gaussians_of_their_own(use_buffers, refits_copies):
    averaging = callbacks.WeightAveraging(avg_fn=get_ema_avg_fn(0.9), use_buffers=use_buffers)
    compared = Compared()
    callback = FixedPointCallback(
        FixedPointSchedule(0.5, range(3)),
        loader(),
        copies="averaged" if refits_copies else (),
    )
    fitted(PACKAGES[0], [callback, averaging, compared], max_epochs=3)
    # the last epoch ends without a refit, since none trains with it
    assert compared.own == [refits_copies] * 2 + [False]


@averages
def test_averaged_models_are_found_or_returned_by_a_function():
    def means(copies, averaging):
        torch.manual_seed(0)
        callback = FixedPointCallback(FixedPointSchedule(0.5, range(3)), loader(), copies=copies)
        fitted(PACKAGES[0], [callback, averaging], num_sanity_val_steps=0)
        return averaging._average_model.module.model.gaussians.means

    found, returned = (
        callbacks.WeightAveraging(avg_fn=get_ema_avg_fn(0.9), use_buffers=True) for _ in range(2)
    )
    assert torch.equal(
        means("averaged", found), means(lambda *_: [returned._average_model], returned)
    )


def test_names_what_is_missing_where_no_model_is_averaged():
    callback = FixedPointCallback(FixedPointSchedule(0.5), copies="averaged")
    with pytest.raises(InvalidInputError, match=r'^copies is "averaged", and no callback of the'):
        fitted(PACKAGES[0], callback, validated=False)
    with pytest.raises(InvalidInputError, match=r"^copies is 'average'; pass \"averaged\""):
        FixedPointCallback(FixedPointSchedule(0.5), copies="average")


@averages
@pytest.mark.parametrize("use_buffers", [False, True])
def test_refits_at_the_end_to_the_averaged_weights(use_buffers):
    averaging = callbacks.WeightAveraging(avg_fn=get_ema_avg_fn(0.9), use_buffers=use_buffers)
    callback = FixedPointCallback(FixedPointSchedule(0.5), loader(), at_end=True)
    _, module = fitted(PACKAGES[0], [averaging, callback], validated=False)
    ours = module.model.gaussians.means.clone()
    refit_(module.model, loader(), 0.5)
    assert torch.equal(module.model.gaussians.means, ours)


def test_refits_at_the_end_with_the_last_lam():
    epochs = []

    def lam(epoch):
        epochs.append(epoch)
        return 0.5

    callback = FixedPointCallback(FixedPointSchedule(lam, [0]), loader(), at_end=True)
    fitted(PACKAGES[0], callback, validated=False, max_epochs=3)
    assert epochs == [0, 2]


# -- bad input -----------------------------------------------------------------------------


def test_a_schedule_that_overrides_force_under_its_former_name_is_called():
    seen = []
    with pytest.warns(DeprecationWarning, match="rename it to force"):

        class Former(FixedPointSchedule):
            def refit_(self, model, loader, epoch, **options):
                seen.append(epoch)
                return FixedPointSchedule.force(self, model, loader, epoch, **options)

    fitted("lightning.pytorch", [FixedPointCallback(Former(0.5, [0]))], max_epochs=1)
    assert seen == [0]


def test_refuses_what_is_no_schedule():
    with pytest.raises(InvalidInputError, match=r"^schedule is a float; pass a FixedPointSchedule"):
        FixedPointCallback(0.5)


def test_refuses_to_prepare_by_what_is_no_function():
    with pytest.raises(InvalidInputError, match=r"^prepare is a str; pass a function batch"):
        FixedPointCallback(FixedPointSchedule(0.5), prepare="scale")


def test_names_an_attribute_that_is_missing():
    callback = FixedPointCallback(FixedPointSchedule(0.5), attribute="flow_model")
    with pytest.raises(InvalidInputError, match=r"^attribute is 'flow_model', which a Module does"):
        fitted(PACKAGES[0], callback, validated=False)


def test_names_the_package_where_lightning_is_missing():
    code = (
        "import sys\n"
        "sys.modules['lightning'] = sys.modules['pytorch_lightning'] = None\n"
        "import fpigauss_torch.lightning\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert ended.returncode != 0
    assert "ImportError: neither lightning nor pytorch_lightning is installed" in ended.stderr
    assert "pip install lightning" in ended.stderr


@averages
@pytest.mark.parametrize("use_buffers", [True, False])
def test_averages_that_would_round_the_flows_permutations_are_told_of(use_buffers):
    module = module_class("lightning.pytorch")()
    module.model.codec.register_buffer("permutation", torch.arange(64))
    averaging = callbacks.WeightAveraging(avg_fn=get_ema_avg_fn(0.9), use_buffers=use_buffers)
    refits = FixedPointCallback(FixedPointSchedule(0.5))
    if use_buffers:
        with pytest.warns(RuntimeWarning, match=r"integers \(codec.permutation\)"):
            fitted(PACKAGES[0], [averaging, refits], module=module, max_epochs=1)
    else:
        fitted(PACKAGES[0], [averaging, refits], module=module, max_epochs=1)


def test_the_sanity_check_may_predict_and_nothing_else_before_the_first_fit():
    class Predicting(module_class("lightning.pytorch")):
        def validation_step(self, batch, _):
            self.model.predict(batch[0])

    module = Predicting()
    refits = FixedPointCallback(FixedPointSchedule(0.5, epochs=(9,)))
    with pytest.warns(RuntimeWarning, match="not been fitted") as caught:
        fitted(PACKAGES[0], [refits], module=module, max_epochs=2, num_sanity_val_steps=1)
    told = [w for w in caught if "not been fitted" in str(w.message)]
    assert len(told) == 2 * len(loader())
    assert not module.model.gaussians.fit_expected
