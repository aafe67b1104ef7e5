"""E4xx: targets, backends, costs."""

from attnc.dsl.codes.problem import problem as _problem

UNKNOWN_TARGET = _problem(
    "E401", "unknown target", "there is no target {text!r}; there are {known}",
    meaning="Kernels are generated and checked for these devices only.",
    wrong="$ attnc plan zoo:vit --target cuda:91",
    right="$ attnc plan zoo:vit --target cuda:90",
)  # fmt: skip
NO_BACKEND = _problem(
    "E402", "no backend", "no backend computes {site} on {target}",
    meaning="Every backend was asked and each gave its reason, which the notes tell. The reference "
    "backend computes every attention that a spec can say; it must be among those asked.",
    wrong="$ attnc plan model.yaml --target cuda:90",
    right="$ attnc plan model.yaml --target reference",
)  # fmt: skip
SIZE_VALUE = _problem(
    "E403", "size without a value", "{names} have no value here",
    "give each a number: {example}",
    meaning="FLOPs and bytes are counted for concrete sizes of the inputs.",
    wrong="$ attnc show zoo:sentence_encoder --size b=1",
    right="$ attnc show zoo:sentence_encoder --size b=1 --size n=128",
)  # fmt: skip
