"""The floor plan: which room may import which, and what a command may load."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import mdncli

PACKAGE = Path(mdncli.__file__).parent
# A room may import itself and the rooms of the lines before its own.
FLOORS = [
    {"errors", "types", "text", "files", "declarations"},
    {"settings", "datasets", "tables"},
    {"columns"},
    {"density"},
    {"modelfile"},
    {"learning", "plots"},
    {"requests"},
    {"conditional_density"},
    {"task"},
    {"api", "distributed"},
    {"estimator", "commands"},
    {"__main__"},
]
# The rooms and modules of a heavy library.
HEAVY = {
    "torch": ("mdncli.learning", "mdncli.modelfile.writer"),
    "matplotlib": ("mdncli.plots",),
    "typer": ("mdncli.commands",),
    "rich": ("mdncli.commands",),
    "pandas": ("mdncli.columns.dataframe",),
    "sklearn": ("mdncli.estimator",),
    "dask": ("mdncli.distributed",),
}
MOST_MODULES, MOST_LINES, MOST_LINES_OF_A_BODY, MOST_LATE_IMPORTS = 81, 600, 40, 17


def name_of(path: Path) -> str:
    parts = ("mdncli", *path.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(part for part in parts if part != "__init__")


TREES = {
    name_of(path): ast.parse(path.read_text(encoding="utf-8")) for path in PACKAGE.rglob("*.py")
}


def imports(tree: ast.AST) -> Iterator[str]:
    """Yield every name that a tree imports, under TYPE_CHECKING and inside functions too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imported_modules(tree: ast.AST) -> set[str]:
    """Return the modules of the package that a tree imports."""
    found = set()
    for name in imports(tree):
        module = name if name in TREES else name.rpartition(".")[0]
        if module in TREES and name != "mdncli.__version__":
            found.add(module)
    return found


# The package names what is public in any room, and imports it when it is used.
GRAPH = {name: imported_modules(tree) for name, tree in TREES.items() if name != "mdncli"}


def room(module: str) -> str:
    return module.split(".")[1]


@pytest.mark.parametrize("module", sorted(GRAPH))
def test_imports_go_one_way_between_the_rooms(module: str) -> None:
    floor = {name: level for level, names in enumerate(FLOORS) for name in names}
    for other in GRAPH[module] - {"mdncli"}:
        if room(other) != room(module):
            below = floor[room(other)] < floor[room(module)]
            # The lowest modules are one floor: they import each other, without a circle.
            assert below or floor[room(module)] <= 1, f"{module} imports {other}"


def test_every_room_is_on_the_plan() -> None:
    assert {room(module) for module in GRAPH} == set().union(*FLOORS)


def test_no_modules_import_each_other_in_a_circle() -> None:
    left = {module: others - {"mdncli"} for module, others in GRAPH.items()}
    while free := [module for module, others in left.items() if not others & set(left)]:
        for module in free:
            del left[module]
    assert not left, f"in circles, or above one: {sorted(left)}"


@pytest.mark.parametrize("module", sorted(TREES))
def test_heavy_libraries_stay_in_their_rooms(module: str) -> None:
    for name in imports(TREES[module]):
        library = name.split(".")[0]
        allowed = HEAVY.get(library)
        if allowed is not None:
            there = any(f"{module}.".startswith(f"{place}.") for place in allowed)
            # The types of other libraries may stand in annotations.
            assert there or name in annotations_only(TREES[module]), f"{module} imports {name}"


def annotations_only(tree: ast.AST) -> set[str]:
    """Return the names that are imported under TYPE_CHECKING."""
    blocks = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    ]
    return {name for block in blocks for name in imports(block)}


def test_modules_and_functions_are_short_and_few() -> None:
    # The files that only make a folder a package hold nothing but their docstring.
    assert len([tree for tree in TREES.values() if len(tree.body) > 1]) <= MOST_MODULES
    late = 0
    for path in PACKAGE.rglob("*.py"):
        lines = len(path.read_text(encoding="utf-8").splitlines())
        assert lines <= MOST_LINES, f"{path} has {lines} lines"
        for node in ast.walk(TREES[name_of(path)]):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                body = node.body[1:] if ast.get_docstring(node) is not None else node.body
                length = body[-1].end_lineno - body[0].lineno + 1 if body else 0
                assert length <= MOST_LINES_OF_A_BODY, f"{path}: {node.name} has {length} lines"
                late += len(late_imports(node))
    assert late <= MOST_LATE_IMPORTS


def late_imports(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.stmt]:
    return [n for n in ast.walk(function) if isinstance(n, ast.Import | ast.ImportFrom)]


# Packages that take long to import, and the parts of SciPy.
SLOW_TO_IMPORT = {
    *("dask", "matplotlib", "numpy", "onnx", "pandas", "pyarrow", "pyarrow.dataset"),
    *("pyarrow.parquet", "pydantic", "rich", "sklearn", "torch"),
    *("scipy.integrate", "scipy.interpolate", "scipy.linalg", "scipy.ndimage", "scipy.optimize"),
    *("scipy.sparse", "scipy.spatial", "scipy.special", "scipy.stats"),
}
TABLES = {"numpy", "pyarrow"}
ANSWERS = {*TABLES, "scipy.special"}


def loaded(*arguments: str, cwd: Path, status: int = 0) -> set[str]:
    """Return which of the packages that take long to import a command loads."""
    code = (
        "import sys; sys.argv = ['mdn', *sys.argv[1:]]\n"
        "from mdncli.commands.app import run\n"
        f"status = run()\n"
        f"assert status == {status}, status\n"
        f"loaded = {SLOW_TO_IMPORT} & set(sys.modules)\n"
        "print('loaded:', *sorted(loaded), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stderr.splitlines()[-1].split()[1:])


def test_help_loads_not_even_numpy(fitted: Path) -> None:
    assert loaded("--help", cwd=fitted) == loaded("--version", cwd=fitted) == set()
    assert loaded("fit", "--help", cwd=fitted) == {"rich"}


@pytest.mark.parametrize(
    "arguments",
    [
        ("predict", "model.pt"),
        ("generate", "nothing"),
        ("fit", "data.csv", "--epochs", "many"),
        ("fit", "data.csv", "--epochs=1.5"),
        ("fit", "data.csv", "--preset", "none"),
        ("sample", "model.pt", "--seed", "-1"),
        ("fit", "data.csv", "--no-such-option"),
        ("nothing",),
    ],
)
def test_usage_errors_load_not_even_numpy(fitted: Path, arguments: tuple[str, ...]) -> None:
    assert loaded(*arguments, cwd=fitted, status=2) == set()


@pytest.mark.parametrize(
    ("arguments", "packages"),
    [
        (("generate", "spiral", "--n", "5"), TABLES),
        (("sample", "model.pt", "--n", "5"), TABLES),
        (("sample", "model.pt", "--rows", "data.csv", "--seed", "1"), TABLES),
        (("inspect", "model.pt"), {*TABLES, "rich"}),
        (("inspect", "model.pt", "--json"), TABLES),
        (("inspect", "data.csv"), {*TABLES, "rich"}),
        (("predict", "model.pt", "data.csv", "--only"), ANSWERS),
        (("predict", "model.pt", "data.csv", "--hdr", "0.9", "--mode", "--density"), ANSWERS),
        (("predict", "model.pt", "data.csv", "--mean", "--std"), TABLES),
        (("evaluate", "model.pt", "data.csv"), {*ANSWERS, "rich"}),
        (("evaluate", "model.pt", "data.csv", "--json"), ANSWERS),
        (("export", "model.pt", "-q", "-o", os.devnull, "--format", "safetensors"), TABLES),
        (("export", "model.pt", "-q", "-o", os.devnull, "--format", "onnx"), {*ANSWERS, "onnx"}),
    ],
)
def test_a_command_loads_only_what_it_needs(
    fitted: Path, arguments: tuple[str, ...], packages: set[str]
) -> None:
    assert loaded(*arguments, cwd=fitted) == packages


def test_a_fit_loads_torch_and_no_pandas(fitted: Path, tmp_path: Path) -> None:
    model = str(tmp_path / "model.pt")
    arguments = ("fit", "data.csv", "-k", "2", "--epochs", "2", "-o", model)
    assert loaded(*arguments, "-q", cwd=fitted) == {*TABLES, "torch"}
    assert loaded(*arguments, cwd=fitted) == {*TABLES, "torch", "rich"}


def test_pictures_are_drawn_without_torch(fitted: Path, tmp_path: Path) -> None:
    arguments = ("plot", "model.pt", "data.csv", "-o", str(tmp_path / "p.png"))
    assert loaded(*arguments, cwd=fitted) == {*TABLES, "matplotlib"}
