"""Small changes of a program, each of which some test should notice."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Mutant", "mutants_of"]

_OPERATORS: dict[type[ast.AST], tuple[str, str]] = {
    ast.Add: ("+", "-"),
    ast.Sub: ("-", "+"),
    ast.Mult: ("*", "/"),
    ast.Div: ("/", "*"),
    ast.Pow: ("**", "*"),
    ast.FloorDiv: ("//", "*"),
    ast.Mod: ("%", "//"),
    ast.BitAnd: ("&", "|"),
    ast.BitOr: ("|", "&"),
    ast.Lt: ("<", "<="),
    ast.LtE: ("<=", "<"),
    ast.Gt: (">", ">="),
    ast.GtE: (">=", ">"),
    ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="),
    ast.Is: ("is", "is not"),
    ast.IsNot: ("is not", "is"),
    ast.In: ("in", "not in"),
    ast.NotIn: ("not in", "in"),
    ast.And: ("and", "or"),
    ast.Or: ("or", "and"),
}
_PAIRS = [
    ("min", "max"),
    ("minimum", "maximum"),
    ("argmin", "argmax"),
    ("any", "all"),
    ("zeros", "ones"),
    ("zeros_like", "ones_like"),
    ("sum", "max"),
    ("floor", "ceil"),
    ("tril", "triu"),
    ("log", "log1p"),
    ("exp", "expm1"),
]
#: A name and what takes its place.
_NAMES = dict(_PAIRS) | {after: before for before, after in _PAIRS if before != "sum"}
#: Statements that no test is to notice: an assertion holds, and is there for the type checker.
_LEFT_ALONE = (ast.ClassDef, ast.Import, ast.ImportFrom, ast.Global, ast.Assert)
#: Arguments that make no difference to numbers: whether an array is shared, and whether iterables
#: are checked to be of one length, which they are.
_SAME_NUMBERS = {"copy", "strict"}


@dataclass(frozen=True, order=True)
class Mutant:
    """A file with the characters from ``start`` to ``stop`` replaced."""

    path: Path
    line: int
    #: The last line of the statement; a test that runs any of its lines may notice.
    last: int
    start: int
    stop: int
    text: str
    #: The file, the lines, the place in them and the change, which stay while others are edited.
    name: str

    def source(self) -> str:
        """Return the program."""
        before = self.path.read_text("utf-8")
        return before[: self.start] + self.text + before[self.stop :]


def mutants_of(path: Path) -> list[Mutant]:
    """Return all mutants of a file that are programs, and not the same one."""
    source = path.read_text("utf-8")
    tree = ast.parse(source)
    place = _Places(source)
    changes = {
        (*lines, *span, text)
        for lines, node in _statements(tree)
        for span, text in _changes(node, place, source)
    }
    found, times = [], Counter[str]()
    for line, last, start, stop, text in sorted(changes):
        name = f"{path}: {place.told(line, last, start, stop)} -> {text}"
        times[name] += 1
        mutant = Mutant(path, line, last, start, stop, text, f"{name} ({times[name]})")
        if _differs(mutant, source, ast.dump(tree)):
            found.append(mutant)
    return found


def _differs(mutant: Mutant, source: str, dumped: str) -> bool:
    try:
        tree = ast.parse(source[: mutant.start] + mutant.text + source[mutant.stop :])
    except SyntaxError:
        return False
    return ast.dump(tree) != dumped


class _Places:
    """Offsets of nodes in a source; the ends of ast are in bytes of UTF-8."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.lines = source.splitlines(keepends=True)
        self.starts = [0]
        for line in self.lines:
            self.starts.append(self.starts[-1] + len(line))

    def _at(self, line: int, column: int) -> int:
        text = self.lines[line - 1].encode()[:column].decode()
        return self.starts[line - 1] + len(text)

    def told(self, line: int, last: int, start: int, stop: int) -> str:
        """Return the lines, with what is between two offsets in brackets."""
        before = self.source[self.starts[line - 1] : start]
        after = self.source[stop : self.starts[last]]
        return f"{before}[[{self.source[start:stop]}]]{after}".strip()

    def start(self, node: ast.expr | ast.stmt) -> int:
        """Return where a node begins."""
        return self._at(node.lineno, node.col_offset)

    def stop(self, node: ast.expr | ast.stmt) -> int:
        """Return where a node ends."""
        return self._at(node.end_lineno or node.lineno, node.end_col_offset or 0)


def _statements(tree: ast.Module) -> Iterator[tuple[tuple[int, int], ast.AST]]:
    """Yield what is mutable, with the lines of its statement: statements, and parts of headers."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.stmt) or isinstance(node, _LEFT_ALONE) or _is_unrun(node):
            continue
        if isinstance(node, ast.FunctionDef):
            for default in [*node.args.defaults, *filter(None, node.args.kw_defaults)]:
                yield (default.lineno, default.lineno), default
            continue
        nested = [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt)]
        nested += [h for h in ast.iter_child_nodes(node) if isinstance(h, ast.ExceptHandler)]  # type: ignore[misc]
        if not nested:
            yield (node.lineno, node.end_lineno or node.lineno), node
            continue
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr):
                yield (child.lineno, child.end_lineno or child.lineno), child
        if isinstance(node, ast.If | ast.While):
            yield (node.lineno, node.test.end_lineno or node.lineno), _Condition(node.test)


class _Condition(ast.AST):
    """The condition of a branch, to be negated."""

    def __init__(self, test: ast.expr) -> None:
        super().__init__()
        self.test = test


Change = tuple[tuple[int, int], str]


def _changes(node: ast.AST, place: _Places, source: str) -> Iterator[Change]:
    if isinstance(node, _Condition):
        span = place.start(node.test), place.stop(node.test)
        yield span, f"not ({source[slice(*span)]})"
        return
    if isinstance(node, ast.stmt):
        yield from _dropped(node, place)
    for part in _parts(node):
        yield from _changes_of(part, place, source)


def _dropped(node: ast.stmt, place: _Places) -> Iterator[Change]:
    """Leave out a statement that does something."""
    calls = isinstance(node, ast.Expr) and isinstance(node.value, ast.Call | ast.Yield)
    if calls or isinstance(node, ast.Raise | ast.AugAssign | ast.Break | ast.Continue):
        yield (place.start(node), place.stop(node)), "pass"


def _parts(node: ast.AST) -> Iterator[ast.expr]:
    """Yield the expressions of a statement, without types, messages and docstrings."""
    if isinstance(node, ast.Raise | ast.JoinedStr) or _is_alias(node):
        return
    if isinstance(node, ast.keyword) and node.arg in _SAME_NUMBERS:
        return
    if isinstance(node, ast.Subscript) and ast.unparse(node).endswith(".shape[-1]"):
        # arrays are (n, d) or (n, d, d), whose axis 1 is as long as the last: the minus stays
        yield from _parts(node.value)
        yield from (part for part in ast.walk(node.slice) if isinstance(part, ast.Constant))
        return
    if isinstance(node, ast.Assign) and any(_is_unseen(target) for target in node.targets):
        return
    if isinstance(node, ast.expr):
        yield node
    for name, value in ast.iter_fields(node):
        if name in {"annotation", "returns", "decorator_list", "ctx"}:
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.expr | ast.keyword | ast.comprehension):
                yield from _parts(child)


def _is_unrun(node: ast.stmt) -> bool:
    """Say whether a statement is a branch for the type checker alone."""
    test = node.test if isinstance(node, ast.If) else None
    return isinstance(test, ast.Name) and test.id == "TYPE_CHECKING"


def _is_alias(node: ast.AST) -> bool:
    """Say whether a statement names a type."""
    annotation = node.annotation if isinstance(node, ast.AnnAssign) else None
    return isinstance(annotation, ast.Name) and annotation.id == "TypeAlias"


def _is_unseen(target: ast.expr) -> bool:
    """Say whether a name says how many bytes are worked on at a time, or is ``__all__``."""
    return isinstance(target, ast.Name) and (target.id.startswith("__") or "_BYTES" in target.id)


def _changes_of(node: ast.expr, place: _Places, source: str) -> Iterator[Change]:
    if isinstance(node, ast.BinOp):
        yield from _operator(node.op, node.left, node.right, place, source)
    elif isinstance(node, ast.BoolOp):
        for left, right in zip(node.values, node.values[1:], strict=False):
            yield from _operator(node.op, left, right, place, source)
    elif isinstance(node, ast.Compare):
        operands = [node.left, *node.comparators]
        for op, left, right in zip(node.ops, operands, operands[1:], strict=False):
            yield from _operator(op, left, right, place, source)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.Not | ast.Invert):
        yield (place.start(node), place.start(node.operand)), ""
    elif isinstance(node, ast.Constant):
        yield from _constant(node, place)
    elif isinstance(node, ast.IfExp):
        span = place.start(node.test), place.stop(node.test)
        yield span, f"not ({source[slice(*span)]})"
    elif isinstance(node, ast.Name | ast.Attribute):
        yield from _name(node, place)


def _operator(
    op: ast.AST, left: ast.expr, right: ast.expr, place: _Places, source: str
) -> Iterator[Change]:
    if type(op) not in _OPERATORS:
        return
    before, after = _OPERATORS[type(op)]
    start = place.stop(left)
    between = source[start : place.start(right)]
    found = re.search(re.escape(before), between)
    if found:
        yield (start + found.start(), start + found.end()), after


def _constant(node: ast.Constant, place: _Places) -> Iterator[Change]:
    span = place.start(node), place.stop(node)
    if isinstance(node.value, bool):
        yield span, str(not node.value)
    elif isinstance(node.value, int | float):
        yield span, repr(node.value + 1 if abs(node.value) < 2**53 else 0.0)
        if node.value:
            yield span, repr(type(node.value)(0))


def _name(node: ast.Name | ast.Attribute, place: _Places) -> Iterator[Change]:
    name = node.id if isinstance(node, ast.Name) else node.attr
    if isinstance(node.ctx, ast.Load) and name in _NAMES:
        yield (place.stop(node) - len(name), place.stop(node)), _NAMES[name]
