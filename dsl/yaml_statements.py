"""Statements, bodies and blocks in YAML."""

from __future__ import annotations

from dataclasses import dataclass, replace

from attnc.dsl import codes, declarations, tree
from attnc.dsl.brackets import DEEPEST, TooDeep
from attnc.dsl.lexemes import Fragment, Lexeme
from attnc.dsl.parser import end_of, lex_part, parse, parse_items, with_comments
from attnc.dsl.pieces import DECLARATIONS, STATEMENTS, BlockHeader, DocLine, Piece
from attnc.dsl.statement_rules import misplaced
from attnc.dsl.suggest import did_you_mean
from attnc.dsl.yaml_nodes import Mapping, Node, Scalar, Sequence
from attnc.dsl.yaml_values import Values

_HEADS = ("repeat", "for", "if", "else", "when")
"""What the key of a statement with a body begins with."""

_BLOCK_KEYS = ("doc", "body")


@dataclass(slots=True)
class Statements:
    """Reads lists of statements, and blocks; what is wrong is reported and left out."""

    values: Values

    def graph(self, node: Node) -> tuple[tree.Statement, ...]:
        """Read the statements of the model."""
        found = []
        for piece in self._pieces(node, "graph", depth=1):
            if isinstance(piece, STATEMENTS):
                found.append(piece)
            else:
                self.values.collector.add(misplaced(piece, "a statement"))
        return tuple(found)

    def block(self, key: Scalar, node: Node) -> tree.Block | None:
        """Read a block, of which the key is the header."""
        above, behind = self.values.above(key), self.values.behind_head(key, node)
        body = self._block_body(node, f"block {key.value.split('(')[0]!r}")
        header = self._header(key)
        if not header:
            return None
        word = Lexeme("BLOCK", "block", header[0].fragment, 0, 0)
        header = [word, *header, _body(header[-1].fragment, body)]
        parsed = parse([*header, _end(header)], "item", self.values.collector)
        if not isinstance(parsed, BlockHeader):
            return None
        made = declarations.block(parsed, self.values.collector)
        return replace(made, comments=(*above, *behind, *made.comments))

    def _block_body(self, node: Node, where: str) -> tuple[Piece, ...]:
        if not isinstance(node, Mapping):
            return self._pieces(node, where, depth=1)
        parts: dict[str, tuple[Piece, ...]] = {}
        for key, value in node.pairs:
            if key.value == "doc":
                text = self.values.text(value, f"doc of {where}") or ""
                parts["doc"] = (DocLine(text, value.span, self.values.comments_of(key, value)),)
            elif key.value == "body":
                behind = self.values.behind_head(key, value)
                self.values.pending = (*self.values.above(key), *behind)
                parts["body"] = self._pieces(value, where, depth=1)
            else:
                self.values.unknown(key, where, _BLOCK_KEYS)
        return (*parts.get("doc", ()), *parts.get("body", ()))

    def _pieces(self, node: Node, where: str, depth: int) -> tuple[Piece, ...]:
        """Read a list of statements; an `else` goes with the `if` before it."""
        if not isinstance(node, Sequence):
            if self.values.kind(node) != "nothing":
                hint = "write the statements as a list, each behind a dash"
                self.values.wrong(node, where, "a list of statements", hint)
            return ()
        found: list[Piece] = []
        chain: list[Lexeme] = []
        for item in node.items:
            if chain and not _is_else(item):
                found += self._parsed(chain)
                chain = []
            if isinstance(item, Mapping):
                chain += self._headed(item, depth + sum(word.type == "ELSE" for word in chain))
            elif isinstance(item, Sequence):
                self.values.wrong(item, "a statement", "a text")
            elif not self._add_texts(item, found, depth):
                break
        return (*found, *self._parsed(chain))

    def _add_texts(self, scalar: Scalar, found: list[Piece], depth: int) -> bool:
        """Add the statements of a string; false where YAML has cut the string off."""
        above, behind = self.values.above(scalar), self.values.behind(scalar)
        fragment = self.values.fragment(scalar)
        if fragment is None:
            return False
        if not fragment.text.strip():
            self.values.wrong(scalar, "a list of statements", "statements", "remove the dash")
        pieces = list(parse_items(fragment, self.values.collector, depth))
        if pieces:
            pieces[0] = replace(pieces[0], comments=(*above, *pieces[0].comments))
            pieces[-1] = _with_trailing(pieces[-1], behind)
        found += pieces
        return True

    def _headed(self, item: Mapping, depth: int) -> list[Lexeme]:
        """Read `head: [statements]` up to and with the body; nothing where that fails.

        Raises:
            TooDeep: `else if` goes on and on.
        """
        key, value = item.pairs[0] if item.pairs else (None, None)
        if key is None or value is None or len(item.pairs) > 1:
            hint = "put each statement behind a dash of its own"
            self.values.wrong(item, "a list of statements", "one statement an item", hint)
            return []
        word = (key.value.split() or [""])[0]
        if word not in _HEADS:
            self.values.collector.add(codes.YAML_SYNTAX.at(
                key.span, detail="': ' splits this statement in two",
                hint=did_you_mean(word, _HEADS) or "quote the whole statement",
            ))  # fmt: skip
            return []
        if depth >= DEEPEST:
            self.values.collector.add(codes.TOO_DEEP.at(key.span, limit=DEEPEST))
            raise TooDeep
        above, behind = self.values.above(key), self.values.behind_head(key, value)
        body = self._pieces(value, f"`{word}`", depth + 1)
        header = self._header(key)
        if header:
            header[0].comments = (*above, *header[0].comments)
            header[-1].trailing = next(iter(behind), header[-1].trailing)
            header.append(_body(header[-1].fragment, body))
        return header

    def _header(self, key: Scalar) -> list[Lexeme]:
        fragment = self.values.fragment(key)
        return [] if fragment is None else lex_part(fragment, self.values.collector) or []

    def _parsed(self, lexemes: list[Lexeme]) -> tuple[Piece, ...]:
        if not lexemes:
            return ()
        piece = parse([*lexemes, _end(lexemes)], "item", self.values.collector)
        if isinstance(piece, (*STATEMENTS, *DECLARATIONS)):
            return (with_comments(piece, lexemes),)
        return ()


def _body(fragment: Fragment, pieces: tuple[Piece, ...]) -> Lexeme:
    """Make the body that a key with its colon opens."""
    end = len(fragment.text)
    lexeme = Lexeme.body(":", fragment, end, end)
    lexeme.pieces = pieces
    return lexeme


def _end(lexemes: list[Lexeme]) -> Lexeme:
    return end_of(lexemes[-1].fragment)


def _is_else(item: Node) -> bool:
    return isinstance(item, Mapping) and item.pairs[0][0].value.split()[:1] == ["else"]


def _with_trailing(piece: Piece, behind: tuple[str, ...]) -> Piece:
    if isinstance(piece, STATEMENTS) and piece.trailing is None:
        return replace(piece, trailing=next(iter(behind), None))
    return replace(piece, comments=(*piece.comments, *behind))
