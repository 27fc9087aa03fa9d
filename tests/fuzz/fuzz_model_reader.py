"""Feeds the model reader with damaged files, and with pickles and contents that no program wrote.

    python tests/fuzz/fuzz_model_reader.py --runs 1000000 --seed 1

With `atheris` the inputs are led by the branches that they reach. Without it, or with `--plain`,
they are random mutations. See the README beside this file.
"""

import argparse
import os
import random
import sys
import tempfile
import time
import warnings
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parent)]

try:
    import atheris
except ImportError:
    atheris = None

if atheris is not None and "--plain" not in sys.argv and __name__ == "__main__":
    with atheris.instrument_imports(include=["mdncli.modelfile"]):
        from mdncli.modelfile import reader

import numpy as np
from modelfile import archives

from mdncli.errors import ModelFileError
from mdncli.files import FileContent
from mdncli.modelfile import reader

# The longest time for a small input, and the longest message.
MOST_SECONDS, LONGEST_MESSAGE = 2.0, 500
WAYS = "pickle", "archive", "content"
# Values that a mutation puts in the place of another one.
ODD = [
    *(None, True, 0, 1, -1, 2**31, 2**63 - 1, 2**70, "", "x", "\ud800", "epochs", [], {}, [[]]),
    *(0.0, -1.0, 1e308, -1e308, 5e-324, 1e60, 1e-60, float("nan"), float("inf"), {"a": [1.0]}),
]
# Pieces of pickles: every opcode that a model file has, and those that call something.
OPCODES = [
    *(bytes([code]) for code in b"().}]0123NQRXabcdehijloqrstu\x80\x81\x82\x83\x84\x85\x86\x87"),
    *(bytes([code]) for code in b"\x88\x89\x8a\x8b\x8c\x8d\x8e\x8f\x90\x91\x92\x93\x94\x95"),
    *(archives.REBUILD, archives.HOOKS, archives.storage("0", 4), b"ctorch\nFloatStorage\n"),
    *(b"cos\nsystem\n", b"ios\nsystem\n", b"Pname\n", b"K\x01", b"X\x01\x00\x00\x00a", b"q\x00"),
]


def small_contents() -> list[dict]:
    """Return the contents of the smallest golden files, with fewer numbers."""
    paths = sorted(archives.FILES.glob("version*.pt"), key=lambda path: path.stat().st_size)
    contents = [archives.content_of(path.read_bytes()) for path in paths[:4]]
    contents.append(smallest(archives.content_of((archives.FILES / "version9.pt").read_bytes())))
    for content in contents:
        record = content["record"]
        record["epochs"] = 2
        record["history"] = {name: values[:2] for name, values in record["history"].items()}
        for column in content["schema"]["features"]:
            for name in {"knots", "scores"} & column.keys():
                column[name] = column[name][:3]
    return contents


def smallest(content: dict) -> dict:
    """Return a content with one linear network of one component for one target, and three tensors.

    The smaller an input is, the more of them are tried in a second.
    """
    schema, [rung, *_] = content["schema"], content["rungs"]
    feature = {**schema["features"][0], "knots": [], "scores": [], "allows_missing": False}
    inputs = 1 + feature["linear"]
    architecture = {**rung["architecture"], "mixtures": 1, "hidden": [], "frequencies": 0}
    shape = {"members": 1, "mixtures": 1, "weight": 1.0, "reads": [], "architecture": architecture}
    prefix = "rung.0.network.0"
    state = {
        f"{prefix}.layers.0.weight": np.full((3, inputs), 0.5),
        f"{prefix}.layers.0.bias": np.zeros(3),
        f"{prefix}.frequencies": np.zeros((1, 0)),
    }
    return {
        **content,
        **{"schema": {**schema, "features": [feature]}, "rungs": [{**rung, **shape}]},
        **{"record": {**content["record"], "components": []}, "background": None, "memory": []},
        **{"reference": False, "baseline": False, "state_dict": state},
    }


class Target:
    """What is fed: the reader, with three ways from an input to a file."""

    def __init__(self) -> None:
        self.contents = small_contents()
        self.entries = [archives.entries_of(content) for content in self.contents]
        self.files = list(map(archives.quick_archive, self.entries))
        self.read = self.refused = 0

    def seeds(self) -> list[bytes]:
        """Return inputs that begin with the number of their way, and are whole models."""
        ways = range(0, len(self.entries) * len(WAYS), len(WAYS))
        pickles = [e["archive/data.pkl"] for e in self.entries]
        starts = [bytes([way]) + each for way, each in zip(ways, pickles, strict=True)]
        return [*starts, *(bytes([1]) + file for file in self.files[-1:])]

    def file(self, data: bytes) -> bytes:
        """Return the file that an input stands for."""
        way, rest = data[0] % len(WAYS), data[1:]
        if WAYS[way] == "archive":
            return rest
        if WAYS[way] == "pickle":
            # The tensors of the file with the same number of entries can be named.
            entries = self.entries[data[0] // len(WAYS) % len(self.entries)]
            return archives.quick_archive({**entries, "archive/data.pkl": rest})
        rng = random.Random(rest)
        content = changed(rng.choice(self.contents), rng)
        return archives.quick_archive(archives.entries_of(content))

    def __call__(self, data: bytes) -> None:
        """Read the file of an input, which must give a model or a `ModelFileError` soon."""
        if not data:
            return
        file = self.file(data)
        started = time.process_time()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                reader.read_model(FileContent("fuzzed.pt", file))
            self.read += 1
        except ModelFileError as error:
            self.refused += 1
            message = str(error)
        else:
            message = "fuzzed.pt: "
        assert len(message) <= LONGEST_MESSAGE, message
        assert message.isprintable(), message
        assert message.startswith("fuzzed.pt: "), message
        seconds = time.process_time() - started
        assert seconds < MOST_SECONDS, f"it took {seconds:.1f} s"


def changed(content: object, rng: random.Random) -> object:
    """Return a copy of a content in which a few values or names are others."""
    copy = _copied(content)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        node = copy
        while True:
            places = list(node) if isinstance(node, dict) else range(len(node))
            if not places:
                break
            place = rng.choice(places)
            if isinstance(node[place], dict | list) and rng.random() < 0.9:
                node = node[place]
                continue
            _change(node, place, rng)
            break
    return copy


def _change(node: dict | list, place: object, rng: random.Random) -> None:
    value, action = node[place], rng.random()
    if action < 0.1:
        del node[place]
    elif action < 0.2 and isinstance(node, dict):
        node[rng.choice(["x", "", 7])] = node.pop(place)
    elif hasattr(value, "shape") and value.size and action < 0.9:
        value = value.copy()
        value.flat[rng.randrange(value.size)] = rng.choice([-1.0, 0.5, 1e9, 3e38, 1e-45])
        node[place] = value if action < 0.7 else value.T
    else:
        node[place] = _copied(rng.choice(ODD))


def _copied(value: object) -> object:
    if isinstance(value, dict):
        return {name: _copied(each) for name, each in value.items()}
    return [_copied(each) for each in value] if isinstance(value, list) else value


def mutated(data: bytes, rng: random.Random) -> bytes:
    """Return an input with a few bytes or opcodes changed, left out, repeated or put in."""
    changed = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 4])):
        place = rng.randrange(1, len(changed) + 1)
        length = rng.choice([1, 1, 2, 8, 64])
        action = rng.randrange(6)
        if action == 0:
            changed[place : place + 1] = bytes([rng.randrange(256)])
        elif action == 1:
            del changed[place : place + length]
        elif action == 2:
            changed[place:place] = changed[max(1, place - length) : place]
        elif action == 3:
            changed[place:place] = rng.choice(OPCODES)
        elif action == 4:
            opcode = rng.choice(OPCODES)
            changed[place : place + len(opcode)] = opcode
        else:
            changed[place:] = changed[place : place + length]
    return bytes(changed)


def fuzz_plainly(target: Target, runs: int, seed: int) -> None:
    """Feed random mutations of the seeds, the same for the same seed."""
    rng, seeds = random.Random(seed), target.seeds()
    for _ in range(runs):
        if rng.random() < 0.3:
            target(bytes([2]) + rng.randbytes(8))
        else:
            target(mutated(rng.choice(seeds), rng))


def fuzz_with_coverage(target: Target, runs: int, seed: int) -> None:
    """Feed what `atheris` makes of the seeds."""
    with tempfile.TemporaryDirectory() as folder:
        for number, data in enumerate(target.seeds()):
            Path(folder, f"seed{number}").write_bytes(data)
        words = Path(folder, "opcodes.txt")
        escaped = ("".join(f"\\x{byte:02x}" for byte in opcode) for opcode in OPCODES)
        words.write_text("".join(f'"{opcode}"\n' for opcode in escaped))
        corpus = Path(folder, "corpus")
        corpus.mkdir()
        for path in list(Path(folder).glob("seed*")):
            path.rename(corpus / path.name)
        options = [f"-runs={runs}", f"-seed={seed}", f"-dict={words}", "-max_len=4000"]
        options += ["-timeout=10", "-print_final_stats=1", f"-artifact_prefix={os.getcwd()}/"]

        # A mutation of its own keeps the way, and changes opcodes as often as bytes.
        def mutate(data: bytes, most: int, number: int) -> bytes:
            rng = random.Random(number)
            found = (
                mutated(data, rng) if data and rng.random() < 0.5 else atheris.Mutate(data, most)
            )
            return found[:most]

        atheris.Setup([sys.argv[0], *options, str(corpus)], target, custom_mutator=mutate)
        atheris.Fuzz()


def main() -> None:
    """Run as the arguments say, and say how many inputs were read and refused."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--plain", action="store_true", help="without atheris")
    given = parser.parse_args()
    target = Target()
    if atheris is None or given.plain:
        fuzz_plainly(target, given.runs, given.seed)
        print(f"{target.read} models read, {target.refused} files refused")
    else:
        fuzz_with_coverage(target, given.runs, given.seed)


if __name__ == "__main__":
    main()
