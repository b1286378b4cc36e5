"""Write the options of a fit as a type checker needs them, from their declaration.

``python -m tools.write_options`` writes ``fpigauss/fit/_typed_options.py``; a test holds the file
against the declaration.
"""

import ast
import inspect
import textwrap
from pathlib import Path

from fpigauss.fit import _options
from fpigauss.fit._documented import declared_options

__all__ = ["TARGET", "rendered"]

TARGET = Path(inspect.getfile(_options)).with_name("_typed_options.py")

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
    options = {field.name: field for field in declared_options(without=["lam"])}
    used = {
        name.id
        for option in options
        for name in ast.walk(annotations[option])
        if isinstance(name, ast.Name)
    }
    imports = []
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("fpigauss"):
            names = [alias.name for alias in node.names if alias.name in used]
            imports += [f"from {node.module} import {', '.join(names)}"] if names else []
    own = sorted(used & set(_options.__all__))
    imports += [f"from {_options.__name__} import {', '.join(own)}"] if own else []
    lines = [
        _HEAD + "from typing import TypedDict",
        "",
        *sorted(imports),
        "",
        '__all__ = ["FixedPointOptions"]',
        "",
        "",
    ]
    lines += ["class FixedPointOptions(TypedDict, total=False):"]
    lines += ['    """Every option of a fit except ``lam``."""']
    for name, option in options.items():
        doc = option.metadata["doc"]
        lines += ["", f"    {name}: {ast.unparse(annotations[name])}"]
        lines += _docstring(doc)
    return "\n".join(lines) + "\n"


def _docstring(doc: str) -> list[str]:
    quotes = '"""'
    marked = "r" if "\\" in doc else ""
    return textwrap.wrap(
        f"{marked}{quotes}{doc}{quotes}", 96, initial_indent="    ", subsequent_indent="    "
    )


if __name__ == "__main__":
    TARGET.write_text(rendered(), encoding="utf-8")
