"""Configs: what they take, what they refuse, and that their keys stay."""

import json
from pathlib import Path

import pytest
from fpigauss import InvalidInputError
from pydantic import ValidationError

from nfpi.config import (
    DataConfig,
    FlowConfig,
    GaussiansConfig,
    RunConfig,
    TrainingConfig,
    canonical,
    config_key,
    from_dict,
    load_config,
    to_dict,
)

CONFIGS = sorted((Path(__file__).parents[1] / "configs").glob("*.toml"))


def written(tmp_path, text):
    path = tmp_path / "a.toml"
    path.write_text(text)
    return path


def test_an_empty_file_is_the_defaults(tmp_path):
    assert load_config(written(tmp_path, "")) == RunConfig()


def test_values_of_every_kind(tmp_path):
    path = written(
        tmp_path,
        """
        [data]
        source = "here.npz"
        size = 14
        [flow]
        name = "mef"
        options = { steps = 4, blocks = [2, 1], scale = 0.5 }
        [gaussians]
        lam = 10000
        pi = 3
        epochs = [1, 4]
        [training]
        augment = ["flip", "crop"]
        ema_decay = 0.999
        amp = true
        """,
    )
    config = load_config(path)
    assert config.data == DataConfig(source="here.npz", size=14)
    assert config.flow == FlowConfig(
        name="mef", options={"steps": 4, "blocks": [2, 1], "scale": 0.5}
    )
    assert (config.gaussians.lam, config.gaussians.pi) == (1e4, 3.0)
    assert type(config.gaussians.lam) is type(config.gaussians.pi) is float
    assert config.gaussians.epochs == (1, 4)
    assert config.training.augment == ("flip", "crop")
    assert (config.training.ema_decay, config.training.amp) == (0.999, True)
    assert config.evaluation == RunConfig().evaluation


def test_overrides(tmp_path):
    path = written(tmp_path, "[data]\nlimit = 5\n[flow]\noptions = { hidden = 8 }\n")
    config = load_config(
        path,
        [
            "gaussians.lam=1e4",
            "gaussians.pi = initial",
            "gaussians.epochs=[2]",
            "flow.name=mef",
            "flow.options.hidden=16",
            "flow.options.blocks=[1, 2]",
            "data.limit=none",
            'data.source="a = b.npz"',
            "training.compile=true",
            "training.seed=1",
            "training.seed=2",
        ],
    )
    assert (config.gaussians.lam, config.gaussians.pi) == (1e4, "initial")
    assert config.gaussians.epochs == (2,)
    assert config.flow == FlowConfig(name="mef", options={"hidden": 16, "blocks": [1, 2]})
    assert config.data == DataConfig(source="a = b.npz")
    assert (config.training.compile, config.training.seed) == (True, 2)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("lam=3", "write table.name=value"),
        ("gaussians.lam", "write table.name=value"),
        ("gaussians.lam=", "write table.name=value"),
        ("gaussians..lam=3", "write table.name=value"),
        ("gaussians.lamb=3", "unknown key gaussians.lamb; there are alpha, beta"),
        ("gauss.lam=3", "unknown key gauss; there are data"),
        ("data.size.width=3", "size is a value, not a table"),
        ("gaussians.lam=nan", "gaussians.lam is nan; it should be a finite number"),
        ("data.source=2024-01-01", "data.source is datetime.date.*; it should be a string"),
    ],
)
def test_bad_overrides(tmp_path, override, message):
    path = written(tmp_path, "[data]\nsize = 8\n")
    with pytest.raises(InvalidInputError, match=message):
        load_config(path, [override])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model": {}}, "unknown key model"),
        ({"data": {"path": "x"}}, "unknown key data.path; there are classes, limit, size, source"),
        ({"data": "digits"}, r"data is 'digits'; it should be a table or instance of DataConfig"),
        ({"data": {"size": 0}}, "data.size is 0; it should be greater than or equal to 1 or none"),
        ({"data": {"size": 8.0}}, "data.size is 8.0; it should be a whole number or none"),
        ({"data": {"size": True}}, "data.size is True"),
        ({"data": {"source": 3}}, "data.source is 3; it should be a string"),
        ({"flow": {"options": 3}}, "flow.options is 3; it should be a table"),
        ({"flow": {"options": {"a": {"b": object()}}}}, "flow.options.a.b is <object"),
        ({"flow": {"options": {"a": float("nan")}}}, "flow.options.a is nan"),
        ({"gaussians": {"scheme": "kmeans"}}, "scheme is .kmeans.; it should be .fixed_point., "),
        (
            {"gaussians": {"lam": -1}},
            "gaussians.lam is -1; it should be greater than or equal to 0",
        ),
        ({"gaussians": {"lam": "1e4"}}, "gaussians.lam is '1e4'"),
        ({"gaussians": {"lam": float("inf")}}, "gaussians.lam is inf"),
        ({"gaussians": {"alpha": 0}}, "gaussians.alpha is 0; it should be greater than 0"),
        (
            {"gaussians": {"pi": "backward"}},
            "pi is .backward.; it should be .forward.*'initial' or a number",
        ),
        ({"gaussians": {"pi": True}}, "gaussians.pi is True"),
        ({"gaussians": {"epochs": 1}}, "gaussians.epochs is 1; it should be a list"),
        ({"gaussians": {"epochs": [-1]}}, "gaussians.epochs.0 is -1"),
        ({"gaussians": {"tied": 1}}, "gaussians.tied is 1; it should be true or false"),
        (
            {"training": {"ema_decay": 1.5}},
            "ema_decay is 1.5; it should be less than or equal to 1 or none",
        ),
        ({"training": {"augment": ["blur"]}}, "training.augment.0 is 'blur'"),
        ({"training": {"epochs": 2.5}}, "training.epochs is 2.5"),
        ({"evaluation": {"temperatures": [0]}}, "evaluation.temperatures.0 is 0"),
    ],
)
def test_bad_values(values, message):
    with pytest.raises(InvalidInputError, match=message):
        from_dict(values)


def test_sections_check_themselves():
    with pytest.raises(InvalidInputError, match=r"gaussians\.lam is -1"):
        GaussiansConfig(lam=-1)
    assert TrainingConfig(augment=["flip"]).augment == ("flip",)
    with pytest.raises(InvalidInputError, match="data is 'digits'"):
        RunConfig(data="digits")
    with pytest.raises(ValidationError, match="frozen"):
        GaussiansConfig().lam = 3.0


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(InvalidInputError, match=r"none\.toml: No such file"):
        load_config(tmp_path / "none.toml")
    with pytest.raises(InvalidInputError, match=r"a\.toml is not TOML: Expected"):
        load_config(written(tmp_path, "[data"))
    (tmp_path / "a.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidInputError, match=r"a\.toml is not TOML"):
        load_config(tmp_path / "a.toml")
    with pytest.raises(InvalidInputError, match=r"config .*a\.toml: gaussians.lam is -1"):
        load_config(written(tmp_path, "[gaussians]\nlam = -1"))


def test_there_and_back_through_json():
    config = from_dict(
        {"flow": {"options": {"blocks": [2, 1], "deep": {"a": None}}}, "training": {"clip": 1}}
    )
    assert from_dict(json.loads(json.dumps(to_dict(config)))) == config


def test_keys():
    config = RunConfig()
    assert config_key(from_dict(to_dict(config))) == config_key(config)
    assert len(config_key(config)) == 12
    assert config_key(from_dict({"gaussians": {"lam": 10000}})) == config_key(
        from_dict({"gaussians": {"lam": 1e4}})
    )
    # where the data lie is not part of the run, which data they are is
    sources = ("a/set.npz", "/elsewhere/set.npz", "a/other.npz")
    here, there, other = (RunConfig(data=DataConfig(source=source)) for source in sources)
    assert config_key(here) == config_key(there) != config_key(other)
    assert canonical(there)["data"]["source"] == "set.npz"
    assert to_dict(there)["data"]["source"] == "/elsewhere/set.npz"


def test_every_field_counts_for_the_key():
    values = to_dict(RunConfig())
    others = {
        bool: lambda value: not value,
        int: lambda value: value + 1,
        float: lambda value: value / 2 + 0.25,
        list: lambda value: value[:1] if value else ["flip"],
        dict: lambda value: {"hidden": 3},
        type(None): lambda value: 1,
    }
    words = {  # of fields that take a few words
        "source": "other",
        "name": "mef",
        "scheme": "data",
        "covariance": "dense",
        "pi": "mean",
        "equations": "released",
        "update": "means",
        "init": "identity",
        "policy": "sublinear_v1",
        "optimiser": "adamax",
        "cnn_model": "resnet18",
        "one_cycle": "released",
        "gradient": "held",
        "loss": "bottleneck",
    }
    seen = {config_key(RunConfig())}
    for table, entries in values.items():
        for name, value in entries.items():
            in_words = isinstance(value, str) or name == "loss"
            other = words[name] if in_words else others[type(value)](value)
            seen.add(config_key(from_dict({**values, table: {**entries, name: other}})))
    assert len(seen) == 1 + sum(len(entries) for entries in values.values())


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_committed_configs(path):
    config = load_config(path)
    assert from_dict(to_dict(config)) == config


def test_there_are_configs():
    assert {path.stem for path in CONFIGS} >= {"digits_tiny", "fashion_cpu", "cifar10_paper"}
    sections = set(RunConfig.model_fields)
    assert sections == {"data", "flow", "gaussians", "training", "evaluation"}


def test_the_papers_settings():
    training = load_config(next(p for p in CONFIGS if p.stem == "cifar10_paper")).training
    assert (training.batch_size, training.init_images, training.ema_start) == (512, 1024, 1)
    assert (training.optimiser, training.lr, training.warmup_steps) == ("adamax", 1e-2, 1000)
    assert (training.ema_decay, training.ema_power, training.epochs) == (0.9999, 0.75, 500)
    assert training.augment == ("released",)


def test_a_config_names_an_autoencoder_without_its_folder():
    path = next(p for p in CONFIGS if p.stem == "imagenet64_paper")
    config = load_config(
        path,
        [
            "flow.options.autoencoder=nfpi.flows.encoded:diffusers_vae",
            "flow.options.autoencoder_options.path=/weights/vae",
        ],
    )
    options = {"autoencoder": "nfpi.flows.encoded:diffusers_vae", "matrix": "released",
               "extent": 1.0, "autoencoder_options": {"path": "/weights/vae"}}  # fmt: skip
    assert config.flow.options == options
    assert canonical(config)["flow"]["options"]["autoencoder_options"] == {"path": "vae"}
