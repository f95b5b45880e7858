"""What of a script has an effect: the reference leaves out the rest before it runs, errors that it would raise included."""

from __future__ import annotations

from miroir.meili.rhai import syntax
from miroir.meili.rhai.lexer import Token
from miroir.meili.rhai.syntax import Node


def is_pure(node: Node) -> bool:
    """Whether evaluating it changes nothing."""
    match node:
        case syntax.Literal() | syntax.Variable() | syntax.Nothing():
            return True
        case syntax.ArrayOf() | syntax.Lazy():
            return all(map(is_pure, node.items))
        case syntax.MapOf():
            return all(is_pure(item) for _, item in node.items)
        case syntax.Template():
            return all(map(is_pure, node.parts))
        case syntax.Block():
            return all(map(is_pure, node.body))
        case syntax.If():
            return all(map(is_pure, (node.test, *node.body, *node.otherwise)))
        case syntax.For():
            return is_pure(node.source) and all(map(is_pure, node.body))
        case _:
            return False


def effective(body: list[Node]) -> list[Node]:
    """Statements without those that are of no use; the last is the value of all."""
    return [statement for statement in body[:-1] if not is_pure(statement)] + body[-1:]


def decided(node: syntax.Lazy) -> syntax.Lazy:
    """`&&`, `||`, `??` without the literals that decide nothing."""
    neutral = {"&&": True, "||": False, "??": None}[node.sign]
    needed: list[Node] = [i for i in node.items if not (isinstance(i, syntax.Literal) and i.value is neutral)]
    return syntax.Lazy(node.place, node.sign, needed)


def assignment(sign: Token, target: Node, value: Node) -> Node:
    """`a = a + b` as `a += b`."""
    operator = str(sign.value)[:-1]
    if (
        not operator
        and isinstance(target, syntax.Variable)
        and isinstance(value, syntax.Operation)
        and value.sign in ("+", "-", "*", "/", "%", "**", "<<", ">>", "&", "|", "^")
        and len(value.items) == 2
        and isinstance(value.items[0], syntax.Variable)
        and value.items[0].name == target.name
    ):
        return syntax.Assign(value.place, target, value.sign, value.items[1])
    return syntax.Assign(sign.place, target, operator, value)
