"""Forms of the core, whose arguments are not all ordinary values: attend, param, domains."""

from collections.abc import Mapping

from attnc.dsl.forms.attend import ATTEND
from attnc.dsl.forms.capture import capture
from attnc.dsl.forms.domains import DOMAINS
from attnc.dsl.forms.form import Form
from attnc.dsl.forms.sources import SOURCE
from attnc.dsl.forms.weights import WEIGHTS

__all__ = ["FORMS", "Form", "capture"]

FORMS: Mapping[str, Form] = {"attend": ATTEND, "source": SOURCE, **DOMAINS, **WEIGHTS}
"""By the name that a spec calls."""
