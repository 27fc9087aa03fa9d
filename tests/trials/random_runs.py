"""Runs of `mdn` with random arguments and damaged files: each must end as the design says.

    python tests/trials/random_runs.py --runs 2000 --seed 0 --jobs 2

Every run is a process of its own, forked from one that has imported everything. It depends on the
seed and its number alone, and a failure is printed with the command that repeats it.
"""

import argparse
import gc
import inspect
import json
import os
import random
import re
import resource
import shlex
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NoReturn, get_args, get_origin

from damaged_files import (
    ODD_NAMES,
    ODD_NUMBERS,
    as_csv,
    damaged,
    random_table,
    table_of_many,
    table_of_one,
)

import mdncli.commands.report
import mdncli.density.evaluation
import mdncli.learning.fit
import mdncli.modelfile.writer
import mdncli.plots
import mdncli.plots.along
import mdncli.plots.calibration
import mdncli.plots.rows
import mdncli.plots.slice  # noqa: F401
from mdncli.commands.app import app, main

STREAMS = ("stdin", "stdout", "stderr")
# Of processor time, since the machine may do other things; and of the clock.
SECONDS, CLOCK = 20, 200.0
MEMORY = 12 << 30
LONGEST_LINE = 500
# What a run may end with. 70 is a bug, and 130 needs an interrupt.
DONE, NOT_HELD, REFUSED = 0, 1, (2, 65, 66, 74)
# A warning of a library names its source file.
LIBRARY_WARNING = re.compile(r"\.py:\d+: |^\s+warnings\.warn|\w+Warning:", re.MULTILINE)
# The last words of fit: without them a random fit would take minutes.
SHORT = ("--time-limit", "2")
FITS = {
    "one.pt": ("one.csv", "--no-ladder", "--baseline"),
    "many.pt": ("many.csv", "-t", "u,v", "--no-ladder", "-k", "3"),
    "count.pt": ("many.csv", "-t", "n", "-x", "a,city", "--no-ladder"),
    "angle.pt": ("many.csv", "-t", "hour", "-x", "a,when", "--period", "hour=24", "--no-ladder"),
    "bound.pt": ("many.csv", "-t", "v", "-x", "a,hour", "--lower", "v=0", "--members", "2"),
}


@dataclass(frozen=True)
class Option:
    """An option of a command, or an argument if it has no names.

    Attributes:
        names: such as `--target`, `-t`.
        kind: of its value: `bool`, `int`, `float` or `str`.
        choices: the words it may be; empty if it is not one of a few.
        repeats: whether it may be given several times.
        metavar: what stands for its value in the help.
    """

    name: str
    names: tuple[str, ...]
    kind: Any
    choices: tuple[str, ...]
    repeats: bool
    metavar: str


@dataclass
class Run:
    """One run of the command line.

    Attributes:
        words: the command line after `mdn`.
        streams: the files of the three standard streams; None for a closed one.
        status: the exit status; negative if a signal ended the process.
        seconds: how long it took.
        faults: what is wrong with how it ended.
    """

    number: int
    folder: Path
    words: list[str] = field(default_factory=list)
    streams: list[str | None] = field(default_factory=lambda: [os.devnull, "stdout", "stderr"])
    status: int = 0
    seconds: float = 0.0
    faults: list[str] = field(default_factory=list)

    def command(self) -> str:
        """Return the line of a shell that runs the same."""
        marks = ("<", ">", "2>")
        streams = [
            f"{mark}{'&-' if file is None else shlex.quote(file)}"
            for mark, file in zip(marks, self.streams, strict=True)
            if file not in ("stdout", "stderr", os.devnull)
        ]
        return shlex.join(["mdn", *self.words]) + "".join(f" {each}" for each in streams)


def options_of(command: Any) -> list[Option]:
    """Return the options and arguments that a command of the app declares."""
    found = []
    for name, parameter in inspect.signature(command).parameters.items():
        kind, info = parameter.annotation.__origin__, parameter.annotation.__metadata__[0]
        kinds = [each for each in get_args(kind) or (kind,) if each is not type(None)]
        if get_origin(kind) is Literal:
            kinds = [kind]
        choices = get_args(kinds[0]) if get_origin(kinds[0]) is Literal else ()
        # Within Annotated, Typer takes the first name for the default, and puts that right later.
        declared = [word for word in (info.default, *(info.param_decls or ())) if word]
        words = [word for word in declared if isinstance(word, str) and word.startswith("-")]
        names = tuple(part for word in words for part in word.split("/"))
        if type(info).__name__ == "OptionInfo" and not names:
            names = (f"--{name.replace('_', '-')}",)
        repeats = get_origin(kinds[0]) is list
        plain = str if choices or repeats else kinds[0]
        found.append(Option(name, names, plain, choices, repeats, info.metavar or ""))
    return found


COMMANDS = {
    (each.name or each.callback.__name__): options_of(each.callback)
    for each in app.registered_commands
    if each.callback is not None
}
SHARES = {"predict": 30, "fit": 22, "inspect": 16, "sample": 12, "evaluate": 12, "plot": 5}
SHARES |= {"generate": 3, "export": 4}


# Values of an option by what its help calls them: for the table of one feature, for the one of
# many, and absurd ones.
VALUES: dict[str, tuple[list[str], list[str], list[str]]] = {
    "COL": (["x", "y"], ["a", "u", "hour", "city"], ["nowhere", ""]),
    "COL,…": (["x", "y"], ["a,hour", "u,v", "city", "n"], ["x,x", "a,", ",", "nowhere"]),
    "COL[=FORMAT]": (["x"], ["when", "when=%Y-%m-%d"], ["when=%Q", "when=", "=%Y", "a=%d%d"]),
    "COL=N,…": (
        ["x=6.28", "y=10"],
        ["hour=24", "a=1,u=100"],
        ["hour=0", "hour", "hour=inf", "x=1e308"],
    ),
    "P,…": (
        ["0.5", "0.1,0.9"],
        ["0.05,0.5,0.95"],
        ["0", "1", "0.5,0.5", "0.1;0.9", "1e-300", "0.9999999999999999"],
    ),
    "T,…": (["1", "0.5,2"], ["1"], ["-1", "1e300", "nan", "1,1"]),
    "a=1,b=2": (
        ["x=1", "x=-0.5"],
        ["a=1,hour=3", "a=1,hour=3,city=Rome,when=2015-01-01,w=1,known=1,n=2"],
        ["x", "a=1,a=2", "x=1e308", "x=inf", "=1"],
    ),
    "a=1,b": (["y=1"], ["u=1", "u", "v=0.5"], ["u,v", "x=1", "u=1e308", "u=nan"]),
    "a=1": (["y=1"], ["u=1", "v=0.5"], ["u", "x=1", "u=1e300"]),
    "V": (["0", "1.5", "-3"], ["u=1,v=2", "1"], ["1e308", "inf", "nan", "u=1", "-1e-320"]),
    "V,…": (["0", "0,5"], ["0"], ["1e308", "nan", "0,0", ","]),
    "SCORE=MOST": (["nll=1", "crps=9"], ["rmse=1"], ["nll", "pit_ks=nan", "nll=1,crps=2", "x=1"]),
    "SIGMA": (["0.1"], ["u=0.1,v=1"], ["0", "1e-300", "1e300", "-1", "u=1"]),
    "A": (["-10", "0"], ["u=-100,v=0", "v=0"], ["1e9", "-1e308", "nan", "v=0,v=0"]),
    "B": (["100"], ["u=100,v=50"], ["0", "1e308", "-1"]),
    "CHAR": ([",", ";"], [".", "\\t"], ["|", " ", "'", '"', "", "ab", "é", "\x1f", "\n", "\\"]),
    "NAME": (
        ["csv", "utf-8"],
        ["jsonl", "latin-1"],
        ["tsv", "parquet", "utf-16", "rot13", "xyz", ""],
    ),
    "TEXT": (["NA", "?"], ["#", "%"], ["", "0", "-", "."]),
    "W,…": (["8"], ["4,4"], ["0", "100000,100000", "8;8", "-1", "1,1,1,1,1,1,1,1,1,1,1,1"]),
}
WHOLE = (["1", "2", "3"], ["2", "5"], ["0", "-1", "1" + "0" * 21, "1.5", "x", "", "auto", "200"])
PLAIN = (["0.1", "0.5"], ["1", "2"], ["0", "-1", "1e-3", "1e308", "nan", "inf", "1e-300", "x", ""])


def random_value(option: Option, files: list[str], many: bool, rng: random.Random) -> str:
    """Return a value for an option, mostly sensible."""
    if option.choices and rng.random() < 0.9:
        return rng.choice(option.choices)
    if rng.random() < 0.03:
        return rng.choice([*ODD_NUMBERS, *ODD_NAMES])
    if option.metavar == "FILE":
        return rng.choice([*files, *files, "nowhere.csv", ".", "-"])
    whole = option.kind is int or option.metavar in ("N", "M", "K", "Q", "FOLDS")
    of_one, of_many, absurd = VALUES.get(option.metavar, WHOLE if whole else PLAIN)
    return rng.choice(absurd if rng.random() < 0.25 else of_many if many else of_one)


def random_words(
    name: str, tables: list[str], models: list[str], many: bool, rng: random.Random
) -> list[str]:
    """Return the words of a random command line.

    Args:
        name: of the command.
        tables: files; the first is the one to use.
        models: files; the first is the one to use.
        many: whether that table has many features.
    """
    odd = [*tables, *models, ".", "nowhere.csv", "-", "", "/dev/null", "junk.pt", "n" * 300]
    words = [name]
    for each in COMMANDS[name]:
        if each.names or (name == "plot" and each.name == "data" and rng.random() < 0.4):
            continue
        right = {"MODEL": models[0], "FILE": rng.choice([tables[0], models[0]])}
        good = rng.choice(each.choices) if each.choices else right.get(each.metavar, tables[0])
        if rng.random() < 0.98:
            words.append(good if rng.random() < 0.93 else rng.choice(odd))
    options = [each for each in COMMANDS[name] if each.names and each.name != "output"]
    for each in rng.choices(options, k=rng.choice([0, 0, 1, 1, 2, 3, 8])):
        words.append(rng.choice(each.names))
        if each.kind is not bool and rng.random() < 0.99:
            words.append(random_value(each, tables, many, rng))
    if name == "sample" and rng.random() < 0.6:
        words += ["--rows", tables[0]]
    words += _random_output(name, [*tables, *models], rng)
    if name == "fit":
        words[2:2] = ["--steps", "5", *(["--no-ladder"] if rng.random() < 0.8 else [])]
        words += SHORT
    if rng.random() < 0.02:
        odd_words = ["--", "--nope", "-z", "", "--help", "--version", "a\x1fb"]
        words.insert(rng.randrange(len(words) + 1), rng.choice(odd_words))
    return words


def _random_output(name: str, inputs: list[str], rng: random.Random) -> list[str]:
    if name == "inspect" or rng.random() < (0.7 if name == "evaluate" else 0.4):
        return []
    usual = {"fit": ["out.pt", "-"], "plot": ["out.png", "out.svg", "out.pdf", "-"]}
    usual["export"] = ["out.safetensors", "out.onnx", "-"]
    per_row = ["--per-row"] if name == "evaluate" and rng.random() < 0.8 else []
    tables = ["out.csv", "out.csv.gz", "out.parquet", "out.jsonl", "out", "-"]
    odd = ["no/out.csv", ".", "out.xyz", "/dev/full", "", "out.csv/", *inputs]
    return [*per_row, "-o", rng.choice(odd if rng.random() < 0.1 else usual.get(name, tables))]


def prepare(run: Run, models: Path, rng: random.Random) -> None:
    """Write the files of a run, and choose its command line and its standard streams."""
    folder, rows = run.folder, rng.choice([12, 60, 60, 200])
    one = random_table(folder, "one", table_of_one(rng, rows), rng)
    several = random_table(folder, "many", table_of_many(rng, rows), rng)
    names = [*FITS]
    for name in names:
        content = (models / name).read_bytes()
        (folder / name).write_bytes(damaged(content, rng) if rng.random() < 0.04 else content)
    (folder / "junk.pt").write_bytes(rng.randbytes(100))
    for name in ("out.csv", "out.png", "out.pt", "model.pt", "plot.png"):
        (folder / name).write_bytes(b"as it was")
    many = rng.random() < 0.6
    tables = [several, one] if many else [one, several]
    if many:
        names.append(names.pop(0))
        names.insert(0, names.pop(rng.randrange(len(names) - 1)))
    chosen = rng.choices([*SHARES], [*SHARES.values()])[0]
    run.words = random_words(chosen, tables, names, many, rng)
    if "-" in run.words:
        run.streams[0] = rng.choice([*tables, *names])
    if rng.random() < 0.04:
        run.streams[1] = rng.choice(["/dev/full", None])
    if rng.random() < 0.04:
        run.streams[2] = rng.choice(["/dev/full", None])


def execute(run: Run) -> None:
    """Run the command in a forked process; set the status and note a run that does not end."""
    before = time.monotonic()
    child = os.fork()
    if child == 0:
        become(run)
    ended = 0
    while not ended and time.monotonic() - before < CLOCK:
        ended, status = os.waitpid(child, os.WNOHANG)
        time.sleep(0.002)
    if not ended:
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        run.faults.append(f"it did not end within {CLOCK:g} s")
    run.status = os.waitstatus_to_exitcode(status)
    if run.status == -signal.SIGXCPU:
        run.faults.append(f"it needs more than {SECONDS} s of processor time")
    run.seconds = time.monotonic() - before


def become(run: Run) -> NoReturn:
    """Make this process the command line of a run; it ends with the exit status."""
    try:
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 5))
        for number, file in enumerate(run.streams):
            os.close(number)
            if file is None:
                setattr(sys, STREAMS[number], None)
                setattr(sys, f"__{STREAMS[number]}__", None)
            else:
                name = file if number == 0 or file.startswith("/") else run.folder.parent / file
                path = os.path.join(run.folder, name)
                flags = os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC
                descriptor = os.open(path, flags, 0o600)
                if descriptor != number:
                    os.dup2(descriptor, number)
                    os.close(descriptor)
        os.chdir(run.folder)
        sys.argv = ["mdn", *run.words]
        main()
    except SystemExit as end:
        os._exit(end.code if isinstance(end.code, int) else 1)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    os._exit(1)


def snapshot(folder: Path) -> dict[str, bytes]:
    """Return the content of every file of a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def judge(run: Run, before: dict[str, bytes]) -> None:
    """Note what is wrong with how a run ended."""
    name = run.words[0] if run.words else ""
    may_not_hold = name == "fit" or "--fail-over" in run.words
    if run.status not in (DONE, *REFUSED) and not (run.status == NOT_HELD and may_not_hold):
        run.faults.append(f"its exit status is {run.status}")
    if run.streams[2] == "stderr":
        content = (run.folder.parent / "stderr").read_bytes()
        judge_messages(run, content.decode("utf-8", "backslashreplace"))
    said = run.streams[1] == "stdout" and (run.folder.parent / "stdout").stat().st_size
    if said and run.status in REFUSED:
        run.faults.append("it refused, and wrote to standard output")
    judge_files(run, before, name)


def judge_messages(run: Run, messages: str) -> None:
    """Note what is wrong with the messages of a run."""
    lines = messages.split("\n")
    errors = [line for line in lines if line.startswith("error: ")]
    if "Traceback" in messages:
        run.faults.append("it shows a traceback")
    if LIBRARY_WARNING.search(messages):
        run.faults.append("it shows a warning of a library")
    if "Usage: " not in messages:
        if len(errors) != (run.status in REFUSED):
            run.faults.append(f"it shows {len(errors)} lines of error")
        elif errors and lines[-2:] != [errors[0], ""]:
            run.faults.append("its error is not the last line")
    if errors and max(map(len, errors)) > LONGEST_LINE:
        run.faults.append(f"its error has {max(map(len, errors))} characters")
    if re.search(r"[\x00-\x09\x0b-\x1f\x7f]", messages):
        run.faults.append("it shows control characters")


def judge_files(run: Run, before: dict[str, bytes], name: str) -> None:
    """Note which files a run changed that it should not have changed."""
    after = snapshot(run.folder)
    changed = {each for each in before | after if before.get(each) != after.get(each)}
    allowed = {"fit": {"model.pt"}, "plot": {"plot.png"}}.get(name, set())
    if name == "export":
        allowed = {f"{Path(each).stem}.{kind}" for each in FITS for kind in ("safetensors", "onnx")}
    given = {
        word
        for option, word in zip(run.words, run.words[1:], strict=False)
        if option in ("-o", "--output")
    }
    # The output may be complete though standard output, which comes later, fails.
    lost = run.status == 74 and run.streams[1] != "stdout"
    if run.status in (DONE, NOT_HELD) or lost:
        changed -= given or allowed
    if changed:
        run.faults.append(f"it changed {', '.join(sorted(changed))}")


def prepared_models(folder: Path) -> Path:
    """Return a folder with a model of each kind."""
    rng = random.Random(0)
    models = folder / "models"
    models.mkdir(parents=True)
    (models / "one.csv").write_bytes(as_csv(table_of_one(rng, 60)))
    (models / "many.csv").write_bytes(as_csv(table_of_many(rng, 60)))
    for name, options in FITS.items():
        run = Run(0, models, ["fit", *options, "--steps", "20", "-q", "-o", name])
        execute(run)
        if run.status:
            sys.exit((folder / "stderr").read_text())
    return models


def one_run(number: int, seed: int, root: Path, models: Path) -> Run:
    """Return a run of this number, done and judged; its folder is removed if nothing is wrong."""
    rng = random.Random(f"{seed} {number}")
    place = root / str(number)
    shutil.rmtree(place, ignore_errors=True)
    run = Run(number, place / "files")
    run.folder.mkdir(parents=True)
    prepare(run, models, rng)
    before = snapshot(run.folder)
    execute(run)
    judge(run, before)
    return run


def report(run: Run, seed: int) -> str:
    """Return what is wrong with a run, and how to repeat it."""
    stderr = run.folder.parent / "stderr"
    shown = stderr.read_text("utf-8", "backslashreplace")[-1500:] if stderr.exists() else ""
    again = f"python tests/trials/random_runs.py --seed {seed} --first {run.number} --runs 1"
    return (
        f"run {run.number}: {'; '.join(run.faults)}\n  cd {run.folder} && {run.command()}\n"
        f"  {again}\n  {shown.rstrip()}\n"
    )


def work(arguments: argparse.Namespace, job: int, root: Path, models: Path) -> None:
    """Do every run whose turn it is, and write the outcomes to a file."""
    statuses = Counter[str]()
    slowest, failed = 0.0, 0
    with open(root / f"outcomes.{job}", "w", encoding="utf-8") as stream:
        for number in range(
            arguments.first + job, arguments.first + arguments.runs, arguments.jobs
        ):
            run = one_run(number, arguments.seed, root, models)
            key = f"{run.words[0] if run.words else ''} {run.status}"
            statuses[key] += 1
            slowest = max(slowest, run.seconds)
            failed += bool(run.faults)
            if run.faults:
                print(report(run, arguments.seed), flush=True)
            elif not arguments.keep:
                shutil.rmtree(root / str(number))
        json.dump([statuses, slowest, failed], stream)


def trial(arguments: argparse.Namespace, root: Path) -> int:
    """Do all the runs, print how many ended how, and return how many failed."""
    gc.freeze()
    models = prepared_models(root)
    jobs = []
    for job in range(arguments.jobs):
        child = os.fork()
        if child == 0:
            try:
                work(arguments, job, root, models)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        jobs.append(child)
    outcomes = [os.waitpid(child, 0)[1] for child in jobs]
    if any(outcomes):
        sys.exit("A job of the trial itself failed.")
    found = [json.loads((root / f"outcomes.{job}").read_text()) for job in range(arguments.jobs)]
    total = Counter[str]()
    for statuses, *_ in found:
        total.update(statuses)
    for key, count in sorted(total.items()):
        print(f"{count:6} {key}")
    print(f"The slowest run took {max(slowest for _, slowest, _ in found):.1f} s.")
    return sum(failed for *_, failed in found)


def parsed() -> argparse.Namespace:
    """Return the arguments of the script."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="the number of the first run")
    parser.add_argument("--jobs", type=int, default=1, help="runs at the same time")
    parser.add_argument("--keep", action="store_true", help="keep the folders of all runs")
    return parser.parse_args()


if __name__ == "__main__":
    ARGUMENTS = parsed()
    ROOT = Path(tempfile.mkdtemp(prefix="random-runs-"))
    FAILED = trial(ARGUMENTS, ROOT)
    if not FAILED and not ARGUMENTS.keep:
        shutil.rmtree(ROOT)
    print(f"{FAILED} of {ARGUMENTS.runs} runs failed.")
    sys.exit(1 if FAILED else 0)
