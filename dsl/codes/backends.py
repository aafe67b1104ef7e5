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
NOT_COMPILED = _problem(
    "E404", "not a compiled model", "{name} was not compiled by attnc",
    "pass what `attnc.compile` returned, or a model of a package that attnc emitted, whole",
    meaning="Attentions are read and changed by the names of a spec. They are known for models "
    "that attnc made: those of `attnc.compile`, and those imported from an emitted package with "
    "its manifest.json and spec.attn.",
    wrong="$ python capture.py  # attnc.capture(torch.nn.Linear(2, 2))",
    right="$ python capture.py  # attnc.capture(attnc.compile('zoo:vit'))",
)  # fmt: skip
UNKNOWN_NODE = _problem(
    "E405", "unknown attention", "the model has no attention {name!r}",
    meaning="Attentions are called by the path of the block that holds them, as `attnc plan` "
    "prints it; `*` stands for any part of a path.",
    wrong="$ python capture.py  # attnc.capture(model, 'block.*.attn')",
    right="$ python capture.py  # attnc.capture(model, 'blocks.*.attn')",
)  # fmt: skip
CAPTURE = _problem(
    "E406", "cannot be captured", "{detail}",
    meaning="Weights and scores, sums of weights over queries, log-sum-exps of softmax and "
    "choices of arg-max can be captured, averaged over heads, layers or both; rows can be chosen "
    "of weights and scores.",
    wrong="$ python capture.py  # attnc.capture(model, what='lse', rows=[0])",
    right="$ python capture.py  # attnc.capture(model, what='weights', rows=[0])",
)  # fmt: skip
