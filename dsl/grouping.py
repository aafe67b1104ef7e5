"""Grouping a flat operation, `a + b * -c`, by the strengths of its operators."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from attnc.dsl import codes, tree
from attnc.dsl.lexemes import Lexeme
from attnc.dsl.operators import BINARY, COMPARISON, PREFIX, RIGHT_TO_LEFT
from attnc.dsl.refusal import refuse
from attnc.dsl.tree import Expr


@dataclass(frozen=True, slots=True)
class _Waiting:
    """An operator whose right operand is not complete yet."""

    operator: Lexeme
    strength: int
    prefix: bool


def grouped(parts: Sequence[Expr | Lexeme]) -> Expr:
    """Return the tree of an operation, given as operands and operators in order.

    Raises:
        Refused: comparisons are chained, or `not` stands where only parentheses allow it.
    """
    operands: list[Expr] = []
    waiting: list[_Waiting] = []
    after_operand = False
    for part in parts:
        if not isinstance(part, Lexeme):
            operands.append(part)
        elif after_operand:
            strength = BINARY[part]
            while waiting and _goes_first(waiting[-1], part, strength):
                _apply(waiting.pop(), operands)
            waiting.append(_Waiting(part, strength, prefix=False))
        else:
            _check_prefix(part, waiting)
            waiting.append(_Waiting(part, PREFIX[part], prefix=True))
        after_operand = not isinstance(part, Lexeme)
    while waiting:
        _apply(waiting.pop(), operands)
    return operands[0]


def _goes_first(left: _Waiting, operator: Lexeme, strength: int) -> bool:
    if left.strength == strength == COMPARISON:
        refuse(codes.TEXT_SYNTAX.at(
            operator.span, found=f"'{operator}'", expected="'and' or 'or'",
            hint="comparisons do not chain: write `a < b and b < c`",
        ))  # fmt: skip
    if left.strength == strength:
        return operator not in RIGHT_TO_LEFT
    return left.strength > strength


def _check_prefix(operator: Lexeme, waiting: Sequence[_Waiting]) -> None:
    if operator == "not" and waiting and waiting[-1].strength > PREFIX["not"]:
        refuse(codes.TEXT_SYNTAX.at(
            operator.span, found="'not'", expected="an expression",
            hint="put `not ...` in parentheses",
        ))  # fmt: skip


def _apply(waiting: _Waiting, operands: list[Expr]) -> None:
    operator, right = waiting.operator, operands.pop()
    if waiting.prefix:
        operands.append(tree.Unary(str(operator), right, operator.span.to(right.span)))
        return
    left = operands.pop()
    operands.append(tree.Binary(str(operator), left, right, left.span.to(right.span)))
