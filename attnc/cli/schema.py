"""`attnc schema`: what editors need to complete and check YAML specs."""

from __future__ import annotations

import json
from typing import cast

from attnc.cli.files import write
from attnc.cli.options import OutputOption
from attnc.cli.outcome import Outcome
from attnc.dsl.render import Json


def schema(output: OutputOption = "-") -> Outcome:
    """Print the JSON Schema of YAML specs."""
    from attnc.dsl.schema import json_schema

    data = json_schema()
    text = json.dumps(data, indent=2, ensure_ascii=False) + "\n"
    if output == "-":
        return Outcome(text, cast(Json, data))
    write(output, text)
    return Outcome(result=output, messages=(f"wrote {output}",))
