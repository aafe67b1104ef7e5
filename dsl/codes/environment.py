"""E6xx: the command line and the environment."""

from attnc.dsl.codes.problem import problem as _problem

UNKNOWN_ZOO = _problem(
    "E600", "unknown zoo system", "there is no {name!r}", "`attnc zoo list` prints the names",
    meaning="The zoo holds published systems as specs, by name. Variants are not part of the name.",
    wrong="$ attnc check zoo:crossvti",
    right="$ attnc check zoo:crossvit",
)  # fmt: skip
MISSING_PACKAGE = _problem(
    "E610", "package not installed", "the package {package!r} is not installed",
    "install it into this environment: `pip install {package}`",
    meaning="This verb needs a package that the Python at hand does not find; another environment "
    "may have it.",
    wrong="$ attnc verify zoo:vit --golden golden.safetensors",
    right="""
        $ pip install torch
        $ attnc verify zoo:vit --golden golden.safetensors
    """,
)  # fmt: skip
OPTION = _problem(
    "E611", "bad option", "{option}: {detail}",
    meaning="The option is known, but its value is not one that it takes, or it does not go with "
    "the other arguments.",
    wrong="$ attnc show zoo:vit --size b=two",
    right="$ attnc show zoo:vit --size b=2",
)  # fmt: skip
EXISTS = _problem(
    "E612", "file exists", "{name} exists already", "choose another path, or pass `--force`",
    meaning="Files of yours are not written over unless you ask for it.",
    wrong="""
        $ attnc zoo copy vit -o mynet.yaml
        $ attnc zoo copy crossvit -o mynet.yaml
    """,
    right="""
        $ attnc zoo copy vit -o mynet.yaml
        $ attnc zoo copy crossvit -o mynet.yaml --force
    """,
)  # fmt: skip
UNKNOWN_TOPIC = _problem(
    "E613", "nothing to explain", "there is no error code, block or operator {name!r}",
    "`attnc explain` without a name lists all of them",
    meaning="Explained are the codes of errors, the blocks of the standard library, and the "
    "operators.",
    wrong="$ attnc explain self_atention",
    right="$ attnc explain self_attention",
)  # fmt: skip
EDITED = _problem(
    "E620", "edited file", "{name} was edited after attnc wrote it",
    "keep your edits elsewhere, or pass `--force` to write over them",
    meaning="The manifest has a hash of every file that attnc wrote; this one has another.",
    wrong="""
        $ attnc compile zoo:vit -o net
        $ echo "# mine" >> net/model.py
        $ attnc compile zoo:vit -o net
    """,
    right="""
        $ attnc compile zoo:vit -o net
        $ cp -r net mine
        $ attnc compile zoo:vit -o net
    """,
)  # fmt: skip
FOREIGN = _problem(
    "E621", "file of another origin", "{name} exists and was not written by attnc",
    "choose another directory, or pass `--force` to write over it",
    meaning="Only files that the manifest beside them lists are written over.",
    wrong="""
        $ mkdir net
        $ echo "# mine" > net/model.py
        $ attnc compile zoo:vit -o net
    """,
    right="""
        $ mkdir net
        $ echo "# mine" > net/training.py
        $ attnc compile zoo:vit -o net
    """,
)  # fmt: skip
NO_GPU = _problem(
    "E630", "no GPU", "there is no GPU to measure on",
    "run it on the card that it is for; --dry-run compiles what would be measured, and needs none",
    meaning="Tiles are chosen by measuring kernels, on a card that PyTorch can use: "
    "`attnc doctor` names the one it finds.",
    wrong="$ attnc tune",
    right="$ attnc tune --target cuda:90 --only linear.32.rates --dry-run",
)  # fmt: skip
UNLISTED_CARD = _problem(
    "E631", "card without tiles of its own", "no tiles are shipped for {card}; there are {known}",
    "nothing is lost but speed: kernels take the tiles that fit every card",
    meaning="Tiles are shipped for cards whose registers and shared memory kernels are checked "
    "for. Those of the card at hand are not known.",
    wrong="$ attnc tune",
    right="$ attnc tune --target cuda:90 --only linear.32.rates --dry-run",
)  # fmt: skip
INTERNAL = _problem(
    "E690", "bug in attnc", "internal error: {error}",
    "this is a bug in attnc; please send the report {report}\n"
    "ATTNC_TRACEBACK=1 shows the traceback here",
    meaning="Nothing that you write should lead here: wrong input has a code of its own. The "
    "report holds the traceback, the versions and the arguments.",
    wrong="$ attnc check model.yaml",
    right="$ ATTNC_TRACEBACK=1 attnc check model.yaml",
)  # fmt: skip
