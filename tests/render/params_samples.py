"""Counted models written by hand, for the tests of how they are shown."""

from __future__ import annotations

from attncli.results.base import MadeBy
from attncli.results.cache import Cache, CachedLayer
from attncli.results.costs import Costs, Fit, Fits, Flops, Lora, LoraComponent, Training, TrainingSetup
from attncli.results.params import (
    Active,
    AlternativeCount,
    Component,
    Layer,
    ModelParameters,
    Node,
    ParameterCount,
    ParameterDifference,
    ParamsResult,
    PerHead,
)

MADE_BY = MadeBy("0.1.0", transformers="5.16.0")

COMPONENTS = (
    Component("text", "embedding.token", 38_597_376, 0),
    Component("text", "embedding.position", 786_432, 0),
    Component("text", "attention.query", 7_077_888, 9_216),
    Component("text", "attention.output", 21_233_664, 27_648),
    Component("text", "mlp.up", 28_311_552, 36_864),
    Component("text", "norm", 19_200, 19_200),
)
BLOCK = (Component("text", "attention.query", 589_824, 768), Component("text", "mlp.up", 2_359_296, 3_072))
OTHER_BLOCK = (Component("text", "mlp.up", 2_359_296, 3_072), Component("text", "norm", 768, 768))
LAYERS = tuple(Layer("text", index, "h", OTHER_BLOCK if index == 3 else BLOCK) for index in range(6))

COSTS = Costs(
    parameters=96_119_040,
    cache=Cache(
        8192,
        2,
        (
            CachedLayer("text", 0, per_token=1536, window=1024),
            CachedLayer("text", 1, per_token=1536),
            CachedLayer("text", 2, state=163_840),
        ),
    ),
    flops=Flops(8192, 191_000_000, 302_000_000),
    growth=(Flops(128, 191_000_000, 4_700_000), Flops(8192, 191_000_000, 302_000_000)),
    attends=True,
    fits=Fits(
        24 << 30,
        2,
        (
            Fit("float32", "float32", 0, needed=26 << 30, missing=2 << 30),
            Fit("bfloat16", "bfloat16", 74_075),
            Fit("bfloat16", "fp8", 148_150),
            Fit("float16", "float16", 74_075),
            Fit("int8", "bfloat16", None),
            Fit("int8", "fp8", None),
        ),
        made_for=8192,
    ),
    training={
        "float32": Training(384, 384, 768, 0),
        "bfloat16": Training(192 << 20, 192 << 20, 768 << 20, 384 << 20, 512 << 20),
    },
    training_setup=TrainingSetup("adamw", "selective", 8192, 2, "temporary buffers"),
    lora=Lora(16, (LoraComponent("attention.query+key", 1, 1_024), LoraComponent("mlp.up", 6, 6_144))),
)

COUNTED = ParameterCount(
    model="org/small",
    source="config",
    total=96_119_040,
    components=COMPONENTS,
    layers=LAYERS,
    tied=(("transformer.wte.weight", "lm_head.weight"),),
    readings=(AlternativeCount("matrices", 95_220_480, "weights without norms and positions: how teaching counts"),),
    per_head=PerHead(
        *(49_152,) * 4,
        heads=12,
        layer=2_359_296,
        key_value_heads=12,
        stack="h",
        layers=6,
        shapes=((768, 64),) * 3 + ((64, 768),),
    ),
    active=Active(96_119_040, 95_332_608),
    notes=("1 layer is stored and run as 12",),
)

TREE = (
    Node(
        "transformer",
        96_119_040,
        children=(
            Node("wte", 38_597_376, children=(Node("weight", 38_597_376, shape=(50257, 768), component="embedding"),)),
            Node("h", 56_735_232, children=(Node("0", 9_455_872, copies=6, last="5"),)),
        ),
    ),
)


def model(name: str = "org/small", **changes: object) -> ModelParameters:
    whole = ModelParameters(COUNTED._replace(model=name), COSTS, "SmallLMHeadModel", "bfloat16", tree=TREE)
    return whole._replace(**changes)  # type: ignore[arg-type]


def result(*models: ModelParameters, by: str = "component") -> ParamsResult:
    return ParamsResult(models or (model(),), MADE_BY, by=by)


def small() -> ModelParameters:
    """A model of another kind, to stand beside the first."""
    components = (Component("text", "embedding.token", 1_000, 0), Component("text", "mlp.gate", 24, 0))
    counted = COUNTED._replace(model="./tiny", total=1_024, components=components, active=Active(1_024, 24))
    return ModelParameters(counted, Costs(1_024, None, Flops(16, 48, 0), (), attends=False))


def compared(count: int = 2) -> ParamsResult:
    both = [(component.component, component.parameters) for component in COMPONENTS]
    table = {**dict.fromkeys(["mlp.gate"], 0), **dict(both)}
    others = {"embedding.token": 1_000, "mlp.gate": 24}
    differences = tuple(
        ParameterDifference("text", name, (table[name], *[others.get(name, 0)] * (count - 1))) for name in sorted(table)
    )
    return ParamsResult((model(), *[small()] * (count - 1)), MADE_BY, differences)
