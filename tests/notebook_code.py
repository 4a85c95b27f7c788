"""Code that stands in a notebook, for tests."""

import ast

import nbformat

from tinynet_core.study.presets import project_root


def run_cell(page, *openings, **names):
    """What cells of a page, given by its number, define: those that hold ``openings``; ``names`` are known to them."""
    (path,) = (project_root() / "notebooks").glob(f"{page}_*.ipynb")
    cells = [c.source for c in nbformat.read(path, as_version=4).cells]
    for opening in openings:
        (source,) = [source for source in cells if opening in source]
        kept = [x for x in ast.parse(source).body if isinstance(x, ast.FunctionDef | ast.ClassDef)]
        exec(compile(ast.Module(kept, []), str(path), "exec"), names)
    return names
