"""Write the options of a fit as a type checker needs them, from their declaration.

``python -m tools.write_options`` writes ``fpigauss/fit/_typed_options.py``; a test holds the file
against the declaration.
"""

import ast
import inspect
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import Field
from pathlib import Path
from typing import Any

from fpigauss.fit import _options
from fpigauss.fit._documented import declared_options

__all__ = ["TARGET", "rendered"]

TARGET = Path(inspect.getfile(_options)).with_name("_typed_options.py")

#: Options that belong to the Gaussians of a refit, or to the refit itself.
_OWN = ("covariance", "tied", "init", "progress")
#: Options that estimators declare otherwise, or that make no sense there: they learn all classes.
_NOT_OF_ESTIMATORS = ("tied", "frozen", "callback")

_HEAD = '''"""The options of a fit as keyword arguments, for type checkers and editors.

Written from ``Options`` by ``python -m tools.write_options``: change them there, not here.
"""

'''


def rendered() -> str:
    """Render the module: annotations as declared, with the imports that they need."""
    tree = ast.parse(inspect.getsource(_options))
    (declaration,) = (
        node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Options"
    )
    annotations = {
        node.target.id: node.annotation
        for node in declaration.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }
    options = declared_options(without=["lam"])
    lines = [
        _HEAD + "from typing import TypedDict",
        "",
        *sorted(_imports(tree, [annotations[option.name] for option in options])),
        "",
        '__all__ = ["EstimatorOptions", "FixedPointOptions", "RefitOptions"]',
        *_typed(
            "FixedPointOptions",
            "Every option of a fit except ``lam``, to annotate functions that pass them on.",
            options,
            annotations,
        ),
        *_typed(
            "RefitOptions",
            "Every option of a fit that a refit of Gaussians passes on as it is.",
            [option for option in options if option.name not in _OWN],
            annotations,
        ),
        *_typed(
            "EstimatorOptions",
            "Every option of a fit that an estimator passes on as it is.",
            [option for option in options if option.name not in _NOT_OF_ESTIMATORS],
            annotations,
        ),
    ]
    return "\n".join(lines) + "\n"


def _imports(tree: ast.Module, annotations: Iterable[ast.expr]) -> Iterator[str]:
    """Import what the annotations name, from where the declaration has it."""
    nodes = (node for annotation in annotations for node in ast.walk(annotation))
    used = {node.id for node in nodes if isinstance(node, ast.Name)}
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("fpigauss"):
            names = [alias.name for alias in node.names if alias.name in used]
            if names:
                yield f"from {node.module} import {', '.join(names)}"
    own = sorted(used & set(_options.__all__))
    if own:
        yield f"from {_options.__name__} import {', '.join(own)}"


def _typed(
    name: str,
    doc: str,
    options: Iterable[Field[Any]],
    annotations: Mapping[str, ast.expr],
) -> Iterator[str]:
    """Write a class with one annotation per option."""
    yield from ("", "", f"class {name}(TypedDict, total=False):", f'    """{doc}"""')
    for option in options:
        yield from ("", f"    {option.name}: {ast.unparse(annotations[option.name])}")
        yield from _docstring(option.metadata["doc"])


def _docstring(doc: str) -> list[str]:
    quotes = '"""'
    marked = "r" if "\\" in doc else ""
    return textwrap.wrap(
        f"{marked}{quotes}{doc}{quotes}", 96, initial_indent="    ", subsequent_indent="    "
    )


if __name__ == "__main__":
    TARGET.write_text(rendered(), encoding="utf-8")
