"""The floor plan: who may import whom, and what a command may load."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import mdncli

PACKAGE = Path(mdncli.__file__).parent
# A room may import those of its own line and of the lines before.
FLOORS = [
    {"errors", "words", "__init__"},
    {"files", "settings", "datasets", "tables", "archive"},
    {"density"},
    {"checkpoint", "formats"},
    {"public"},
    {"learning"},
    {"estimator", "plots"},
    {"commands"},
    {"__main__"},
]
HEAVY = {
    "torch": {"learning", "checkpoint"},
    "matplotlib": {"plots"},
    "typer": {"commands"},
    "rich": {"commands"},
}


def imports(path: Path) -> list[str]:
    """Return every module that a file imports, inside functions too."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            assert node.module is not None
            found.append(node.module)
            if node.module == "mdncli":
                found += [f"mdncli.{alias.name}" for alias in node.names]
    return found


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


FILES = sorted(PACKAGE.rglob("*.py"))
# The front door names what stands in any room, and opens it only when asked.
ROOMS = [path for path in FILES if path != PACKAGE / "__init__.py"]


@pytest.mark.parametrize("path", ROOMS, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_one_way(path: Path) -> None:
    floor = {name: level for level, names in enumerate(FLOORS) for name in names}
    here = room(path)
    for module in imports(path):
        parts = module.split(".")
        if parts[0] == "mdncli" and len(parts) > 1 and parts[1] in floor and parts[1] != here:
            assert floor[parts[1]] <= floor[here], f"{here} imports {module}"
        if parts[0] in HEAVY:
            assert here in HEAVY[parts[0]], f"{here} imports {module}"


def test_every_room_is_on_the_plan() -> None:
    assert {room(path) for path in FILES} == set().union(*FLOORS)


def loaded(*arguments: str, cwd: Path) -> set[str]:
    """Return the heavy libraries that a command loads."""
    code = (
        "import sys; sys.argv = ['mdn', *sys.argv[1:]]\n"
        "from mdncli.commands.app import run\n"
        "status = run()\n"
        "assert status == 0, status\n"
        "heavy = {'torch', 'matplotlib', 'pandas', 'scipy'} & set(sys.modules)\n"
        "print('loaded:', *sorted(heavy), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        check=True,
    )
    return set(done.stderr.splitlines()[-1].split()[1:])


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("fit", "--help"),
        ("generate", "spiral", "--n", "5"),
        ("sample", "model.pt", "--n", "5"),
        ("sample", "model.pt", "--rows", "data.csv"),
        ("inspect", "model.pt"),
        ("inspect", "data.csv"),
    ],
)
def test_what_needs_no_special_function_loads_nothing_heavy(
    fitted: Path, arguments: tuple[str, ...]
) -> None:
    assert loaded(*arguments, cwd=fitted) == set()


@pytest.mark.parametrize(
    "arguments",
    [
        ("predict", "model.pt", "data.csv", "--hdr", "0.9", "--mode", "--density"),
        ("evaluate", "model.pt", "data.csv"),
    ],
)
def test_answers_load_no_more_than_scipy(fitted: Path, arguments: tuple[str, ...]) -> None:
    assert loaded(*arguments, cwd=fitted) <= {"scipy"}


def test_plots_are_drawn_without_torch(fitted: Path, tmp_path: Path) -> None:
    arguments = ("plot", "model.pt", "data.csv", "-o", str(tmp_path / "p.png"))
    assert loaded(*arguments, cwd=fitted) <= {"matplotlib", "pandas", "scipy"}
