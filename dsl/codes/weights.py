"""E5xx: weights and parity."""

from attnc.dsl.codes.problem import problem as _problem

NOT_SAFETENSORS = _problem(
    "E500", "not a safetensors file", "{name} is not a safetensors file: {detail}",
    "convert pickled checkpoints with `safetensors.torch.save_file` where you trust them",
    meaning="Weights are read from safetensors files only: these are data, while unpickling a "
    "checkpoint runs whatever code it carries.",
    wrong="$ attnc weights inspect pytorch_model.bin",
    right="$ attnc weights inspect model.safetensors",
)  # fmt: skip
TRUNCATED = _problem(
    "E501", "truncated checkpoint", "{name} is cut short: {detail}", "fetch the file again",
    meaning="The header says how many bytes the file has, and it has fewer: a download was broken "
    "off, or the disk was full.",
    wrong="$ attnc weights inspect model.safetensors.part",
    right="$ attnc weights inspect model.safetensors",
)  # fmt: skip
TENSOR_RECORD = _problem(
    "E502", "bad tensor record", "{name}: tensor {tensor!r} {detail}",
    meaning="What the header says about a tensor contradicts itself: its dtype, its shape and its "
    "bytes must go together, and tensors may not overlap. The program that wrote the file is at "
    "fault.",
    wrong="$ attnc weights inspect written_by_hand.safetensors",
    right="$ attnc weights inspect written_by_save_file.safetensors",
)  # fmt: skip
WEIGHT_RULE = _problem(
    "E503", "bad weight rule", "{detail}",
    meaning="A rule renames weights, from the checkpoint's names to ours. Both sides have the same "
    "holes, and its operations must be such that they can be undone.",
    wrong="""
        weights:
          official:
            map: [{"layer.{i}.fc.*": "blocks.{j}.fc.*"}]
    """,
    right="""
        weights:
          official:
            map: [{"layer.{i}.fc.*": "blocks.{i}.fc.*"}]
    """,
)  # fmt: skip
UNKNOWN_SOURCE = _problem(
    "E504", "unknown weight source", "there is no weight source {name!r}",
    meaning="`weights` has one map for each source of checkpoints; this one is not among them.",
    wrong="$ attnc weights check zoo:vit model.safetensors --source offical",
    right="$ attnc weights check zoo:vit model.safetensors --source official",
)  # fmt: skip
WEIGHTS_MISFIT = _problem(
    "E505", "weights do not fit", "{count} of the weights in {name} do not fit this model",
    "see them all with `attnc weights check`",
    meaning="Every weight of the model must come from the checkpoint, in its shape, and every "
    "tensor of the checkpoint must go somewhere or be declared unused. Often a variant is missing.",
    wrong="$ attnc weights convert zoo:vit base.safetensors -o ours.safetensors",
    right="$ attnc weights convert zoo:vit base.safetensors -o ours.safetensors --variant base",
)  # fmt: skip
NOT_EQUAL = _problem(
    "E506", "tied weights differ", "{names} of {name} are one weight here, but are not equal",
    "map them to weights of their own, or mend the checkpoint",
    meaning="The map makes one weight of several tensors. That is right only where they hold the "
    "same numbers; else all but one would be lost.",
    wrong="$ attnc weights convert tied.yaml untied.safetensors -o ours.safetensors",
    right="$ attnc weights convert untied.yaml untied.safetensors -o ours.safetensors",
)  # fmt: skip
UNWRITABLE = _problem(
    "E507", "cannot write", "cannot write {name}: {reason}", "check the path and its permissions",
    meaning="The directory is missing or may not be written to, or the disk is full. Nothing was "
    "changed: files are written whole or not at all.",
    wrong="$ attnc new no/such/directory/mynet.yaml",
    right="$ attnc new mynet.yaml",
)  # fmt: skip
GOLDEN = _problem(
    "E508", "bad golden file", "{name}: {detail}",
    meaning="A golden file holds what the official code computed: tensors named `w.*`, `in.*`, "
    "`out.*` and `mid.*`, and its configuration as metadata.",
    wrong="$ attnc verify zoo:vit --golden weights_only.safetensors",
    right="$ attnc verify zoo:vit --golden golden.safetensors",
)  # fmt: skip
PARITY = _problem(
    "E509", "bad parity data", "{detail}",
    meaning="`parity` says how to drive the spec from a golden file: which params its "
    "configuration stands for, and which tensor is which input and output. Tolerances state a "
    "reason.",
    wrong="""
        parity:
          inputs: {image: in.image}
          outputs: {scores: out.logits}
    """,
    right="""
        parity:
          inputs: {image: in.image}
          outputs: {logits: out.logits}
    """,
)  # fmt: skip
