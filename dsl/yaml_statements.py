"""Statements, bodies and blocks in YAML."""

from __future__ import annotations

from dataclasses import dataclass, replace

from attnc.dsl import codes, declarations, tree
from attnc.dsl.lexemes import Lexeme
from attnc.dsl.lexer import DEEPEST
from attnc.dsl.parser import end_of, lex_part, parse, parse_items, with_comments
from attnc.dsl.pieces import DECLARATIONS, STATEMENTS, BlockHeader, DocLine, Piece
from attnc.dsl.statement_rules import misplaced
from attnc.dsl.suggest import did_you_mean
from attnc.dsl.yaml_nodes import Mapping, Node, Scalar, Sequence
from attnc.dsl.yaml_values import Values, is_torn

_HEADS = frozenset({"REPEAT", "FOR", "IF", "WHEN", "ELSE"})
"""What the key of a statement with a body begins with."""

_BLOCK_KEYS = ("doc", "body")


@dataclass(slots=True)
class Statements:
    """Reads lists of statements; what is wrong is reported and left out."""

    values: Values

    def graph(self, node: Node) -> tuple[tree.Statement, ...]:
        """Read the statements of the model."""
        found = []
        for piece in self.pieces(node, "graph", depth=1):
            if isinstance(piece, STATEMENTS):
                found.append(piece)
            else:
                self.values.collector.add(misplaced(piece, "a statement"))
        return tuple(found)

    def block(self, key: Scalar, node: Node) -> tree.Block | None:
        """Read a block: the key is its header."""
        comments = (*self.values.above(key), *self.values.behind(key))
        body = self._block_body(key, node)
        fragment = self.values.fragment(key)
        header = None if fragment is None else lex_part(fragment, self.values.collector)
        if fragment is None or header is None:
            return None
        lexemes = [Lexeme("BLOCK", "block", fragment, 0, 0), *header, _body(header, key, body)]
        parsed = parse([*lexemes, end_of(fragment)], "item", self.values.collector)
        if not isinstance(parsed, BlockHeader):
            return None
        ...
