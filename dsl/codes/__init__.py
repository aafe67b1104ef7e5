"""The catalogue of errors: one entry each. Raise sites pass values only.

E1xx reading, E2xx names, values and shapes, E3xx lowering, E4xx backends, E5xx weights and parity,
E6xx command line and environment. A new error is one entry in the module of its group.
"""

from attnc.dsl.codes.backends import *  # noqa: F403
from attnc.dsl.codes.environment import *  # noqa: F403
from attnc.dsl.codes.lowering import *  # noqa: F403
from attnc.dsl.codes.problem import CATALOGUE as CATALOGUE
from attnc.dsl.codes.problem import Problem as Problem
from attnc.dsl.codes.reading import *  # noqa: F403
from attnc.dsl.codes.values import *  # noqa: F403
from attnc.dsl.codes.weights import *  # noqa: F403
