#!/usr/bin/env python3
"""The rules of the house that a compiler does not know, checked on every source file.

    check_house.py [ROOT]       prints violations as file:line: what, exit code 1 if there are any
    check_house.py --self-test  plants each violation in a small tree and looks whether it is found

The rules and their reasons are in CONTRIBUTING.md.
"""
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

LAYERS = ["base", "data", "model", "comm", "trainer", "launch"]
CORE = ["base", "model", "comm", "trainer"]
CORE_LINES = 12000
# A GPU's backend is a library of its own behind model/backend.h: whoever reads the core need not.
GPU = ("model/cuda/", "comm/cuda/")
GPU_LINES = 3000
FILE_LINES = 600
FUNCTION_LINES = 80
PARAMETERS = 8

# header -> the places that may include it (a folder ends in "/"; there: one file only)
VENDOR_HOMES = {
    "yaml.h": ["launch/schema.c"],
    "zstd.h": ["data/codec.c"],
    "xxhash.h": ["data/codec.c"],
    "jansson.h": ["base/json.h"],
    "png.h": ["data/png.c", "data/pack/image_file.c"],
    "jpeglib.h": ["data/pack/image_file.c"],
    "archive.h": ["data/pack/container.c"],
    "mpi.h": ["comm/comm_mpi.c"],
    "nccl.h": ["comm/cuda/comm_nccl.c"],
    "cudnn.h": ["model/cuda/attention_graph.h"],
    "zlib.h": ["data/"],
    "zmq.h": ["launch/watch/wire.c", "launch/share/share_server.c", "launch/share/share_client.c"],
    "oneapi/dnnl/dnnl.h": ["model/cpu/product.c"],
}
SWITCH_HOMES = ["model/backend.c"]
# Where a process may end or print below launch/, and why: the bug path; the end of a whole job.
EXIT_HOMES = {"base/status.c": "stdout|stderr|printf|exit", "comm/comm.c": "exit",
              "comm/comm_mpi.c": "exit"}

SKIPPED_FOLDERS = re.compile(r"build.*|runs|data-packed|shared|__pycache__|\.git")
SHARED_NAMES = {"CMakeLists.txt", "README.md", "RESULTS.md", ".gitignore", "run.sh"}
TEXT = {".c", ".h", ".cu", ".cuh", ".cpp", ".py", ".sh", ".cmake", ".txt", ".md", ".yaml", ".yml", ".json", ""}
UNFINISHED = re.compile(r"\b(TO" r"DO|FIX" r"ME)\b")
MACHINE_PATH = re.compile(r"(?<![\w./$}])/(?:work|root|home|Users)/\w")
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
CONDITION = re.compile(r"^\s*#\s*(?:el)?if(?:n?def)?\b(.*)")


class House:
    def __init__(self, root):
        self.root = Path(root)
        self.found = []
        self.notes = []
        self.files = sorted(self.walk(self.root))
        self.sources = [f for f in self.files if f.suffix in (".c", ".h")]
        self.text = {f: self.read(f) for f in self.files if f.suffix in TEXT}
        self.code = {f: blank(self.text[f]).split("\n") for f in self.sources}
        self.includes = {f: self.list_includes(f) for f in self.sources}

    def walk(self, folder):
        for entry in folder.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                if not SKIPPED_FOLDERS.fullmatch(entry.name):
                    yield from self.walk(entry)
            elif entry.is_file():
                yield entry

    def read(self, file):
        try:
            return file.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            if file.suffix in (".c", ".h"):
                self.say(file, 1, "is not UTF-8")
            return ""

    def name(self, file):
        return file.relative_to(self.root).as_posix()

    def say(self, file, line, what):
        self.found.append(f"{self.name(file)}:{line}: {what}")

    def list_includes(self, file):
        found = []
        for number, line in enumerate(self.text[file].split("\n"), 1):
            match = INCLUDE.match(line)
            if match:
                found.append((number, match[1] == '"', match[2]))
        return found

    def check(self):
        for rule in (self.layers, self.cycles, self.vendors, self.lengths, self.functions,
                     self.names, self.switches, self.printing, self.words, self.first_lines,
                     self.tests, self.jumps, self.comments, self.core_size):
            rule()
        return sorted(self.found, key=lambda text: (text.split(":")[0], int(text.split(":")[1])))

    def layers(self):
        for file in self.sources:
            folder = self.name(file).split("/")[0]
            for line, quoted, target in self.includes[file]:
                if not quoted:
                    continue
                above = target.split("/")[0]
                if not (self.root / target).is_file() or target.startswith("."):
                    self.say(file, line, f'"{target}" is not spelled from the root of the tree')
                elif folder == "tests":
                    continue
                elif above not in LAYERS or folder not in LAYERS:
                    self.say(file, line, f"{folder}/ may not include {target}")
                elif LAYERS.index(above) > LAYERS.index(folder):
                    self.say(file, line, f"{folder}/ includes {target}, which stands to its right")

    def cycles(self):
        state = {}

        def visit(file, path):
            state[file] = "open"
            for line, quoted, target in self.includes[file]:
                other = self.root / target
                if not quoted or other not in self.includes:
                    continue
                if state.get(other) == "open":
                    names = [self.name(f) for f in path[path.index(other):] + [other]]
                    self.say(file, line, "include cycle: " + " -> ".join(names))
                elif other not in state:
                    visit(other, path + [other])
            state[file] = "done"

        for file in self.sources:
            if file not in state:
                visit(file, [file])

    def vendors(self):
        users = {}
        for file in self.sources:
            name = self.name(file)
            for line, quoted, target in self.includes[file]:
                if quoted or target not in VENDOR_HOMES or name.startswith("tests/"):
                    continue
                users.setdefault(target, []).append((file, line))
                homes = VENDOR_HOMES[target]
                if not any(name.startswith(h) if h.endswith("/") else name == h for h in homes):
                    self.say(file, line, f"<{target}> may be included in {', '.join(homes)} only")
        for target, places in users.items():
            if not any(home.endswith("/") for home in VENDOR_HOMES[target]):
                continue
            for file, line in places[1:]:
                if self.name(file) in VENDOR_HOMES[target]:
                    continue
                self.say(file, line, f"<{target}> has a second home beside "
                                     f"{self.name(places[0][0])}")

    def lengths(self):
        for file in self.files:
            if file.suffix in (".c", ".h", ".py", ".sh", ".cmake"):
                lines = self.text[file].count("\n")
                if lines > FILE_LINES:
                    self.say(file, lines, f"{lines} lines, at most {FILE_LINES}")

    def functions(self):
        if shutil.which("ctags") is None:
            self.notes.append("function lengths not checked: universal-ctags is not installed")
            return
        command = ["ctags", "--options=NONE", "-f", "-", "--output-format=json", "--kinds-C=f",
                   "--fields=+neS", "--language-force=C"] + [str(f) for f in self.sources]
        answer = subprocess.run(command, capture_output=True, text=True)
        if answer.returncode != 0:
            self.notes.append("function lengths not checked: " + answer.stderr.strip()[:200])
            return
        for line in answer.stdout.splitlines():
            tag = json.loads(line)
            file = Path(tag["path"])
            lines = tag.get("end", tag["line"]) - tag["line"] + 1
            if lines > FUNCTION_LINES:
                self.say(file, tag["line"], f"{tag['name']} has {lines} lines, "
                                            f"at most {FUNCTION_LINES}")
            count = count_parameters(tag.get("signature", "()"))
            if count > PARAMETERS:
                self.say(file, tag["line"], f"{tag['name']} has {count} parameters, "
                                            f"at most {PARAMETERS}: use a struct")

    def names(self):
        seen = {}
        for file in self.files:
            if file.suffix not in TEXT or "corpus" in file.parts or file.name in SHARED_NAMES:
                continue
            if file.name in seen:
                self.say(file, 1, f"has the same name as {self.name(seen[file.name])}")
            seen.setdefault(file.name, file)

    def switches(self):
        for file in self.sources:
            if self.name(file) in SWITCH_HOMES:
                continue
            for number, line in enumerate(self.code[file], 1):
                match = CONDITION.match(line)
                option = match and re.search(r"\b(DYE|HAVE|USE|WITH|ENABLE)_\w+", match[1])
                if option:
                    self.say(file, number, f"asks for the build option {option[0]}; "
                                           f"only {SWITCH_HOMES[0]} may")

    def printing(self):
        kinds = {"stdout|stderr": r"\b(?:stdout|stderr)\b",
                 "printf": r"\b(?:printf|vprintf|puts|putchar|perror)\s*\(",
                 "exit": r"\b(?:exit|_exit|_Exit|abort|quick_exit)\s*\("}
        for file in self.sources:
            name = self.name(file)
            if name.split("/")[0] not in LAYERS[:-1]:
                continue
            for number, line in enumerate(self.code[file], 1):
                for kind, pattern in kinds.items():
                    match = re.search(pattern, line)
                    allowed = set(EXIT_HOMES.get(name, "").split("|"))
                    if match and not set(kind.split("|")) <= allowed:
                        self.say(file, number, f"{match[0].rstrip('( ')}: only launch/ prints "
                                               "and ends the process")

    def words(self):
        for file, text in self.text.items():
            if "corpus" in file.parts:
                continue
            for number, line in enumerate(text.split("\n"), 1):
                match = UNFINISHED.search(line)
                if match:
                    self.say(file, number, f"{match[0]} left behind")
                match = MACHINE_PATH.search(line)
                if match:
                    self.say(file, number, "names a path of one machine")

    def first_lines(self):
        for file in self.files:
            first = self.text.get(file, "").split("\n")
            if file.suffix in (".c", ".h") and not first[0].startswith("//"):
                self.say(file, 1, "the first line does not say what the file is for")
            if file.suffix == ".sh" and not (len(first) > 1 and first[1].startswith("#")):
                self.say(file, 2, "the line below #! does not say what the script is for")

    def tests(self):
        for file in self.sources:
            if not re.fullmatch(r"test_\w+\.c", file.name):
                continue
            code = "\n".join(self.code[file])
            if not re.search(r"\bint main\s*\(", code):
                self.say(file, 1, "a test program without main")
            if not re.search(r"\btest_report\s*\(\s*\)", code):
                self.say(file, 1, "main does not end in test_report()")
            for match in re.finditer(r"^static void (test_\w+)\s*\(\s*void\s*\)\s*{", code, re.M):
                if len(re.findall(rf"\b{match[1]}\b", code)) < 2:
                    self.say(file, code.count("\n", 0, match.start()) + 1, f"{match[1]} never runs")

    def jumps(self):
        for file in self.sources:
            code = self.code[file]
            for number, line in enumerate(code, 1):
                match = re.search(r"\bgoto\s+(\w+)\s*;", line)
                if match is None or line.endswith("\\"):  # a macro's label is its caller's
                    continue
                below = code[number:]
                end = next((i for i, other in enumerate(below) if other.startswith("}")), None)
                if not any(re.match(rf"\s*{match[1]}\s*:", other) for other in below[:end]):
                    self.say(file, number, f"goto {match[1]} does not go forward")

    def comments(self):
        bare = 0
        for file in self.sources:
            if file.suffix != ".h" or self.name(file).startswith("tests/"):
                continue
            raw = self.text[file].split("\n")
            for number, line in enumerate(self.code[file]):
                starts = re.match(r"^(?!static|typedef|return|#)[A-Za-z_][\w *]*\w\(", line)
                near = raw[max(0, number - 4):number + 3]
                if starts and not any("//" in other for other in near):
                    bare += 1
        if bare:
            self.notes.append(f"{bare} prototypes have no comment near them")

    def core_size(self):
        core = [f for f in self.sources if self.name(f).split("/")[0] in CORE
                and not self.name(f).startswith(GPU)]
        lines = sum(bool(line.strip()) for f in core for line in self.code[f])
        whole = sum(self.text[f].count("\n") for f in core)
        self.notes.append(f"core (base, model, comm, trainer): {lines} lines of code, at most "
                          f"{CORE_LINES}; {whole} with comments and blank lines")
        gpu = sum(bool(line.strip()) for f in self.files if self.name(f).startswith(GPU)
                  for line in blank(self.text.get(f, "")).split("\n"))
        self.notes.append(f"the GPU's backend: {gpu} lines, at most {GPU_LINES}")
        if gpu > GPU_LINES:
            self.found.append(f"model/cuda:1: the GPU's backend has {gpu} lines, at most {GPU_LINES}")
        if lines > CORE_LINES:
            self.found.append(f"base:1: the core has {lines} lines of code, at most {CORE_LINES}")


def blank(text):
    """The code with comments and the insides of literals replaced by spaces; lines stay."""
    pattern = re.compile(r'//(?:\\\n|[^\n])*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'',
                         re.S)

    def spaces(match):
        return re.sub(r"[^\n]", " ", match[0])

    return pattern.sub(spaces, text)


def count_parameters(signature):
    inside = signature.strip()[1:-1].strip()
    if inside in ("", "void"):
        return 0
    depth, count = 0, 1
    for letter in inside:
        depth += (letter in "([{") - (letter in ")]}")
        count += letter == "," and depth == 0
    return count


# One planted violation each: (file, its text, what the report must say at which line).
GOOD = "// For the self-test.\n"
LONG_FUNCTION = GOOD + "static int f(void) {\n" + "    ;\n" * 90 + "}\n"
PLANTS = [
    ("base/a.c", GOOD + '#include "data/b.h"\n', "base/a.c:2: base/ includes data/b.h"),
    ("model/cpu/c.c", GOOD + '#include "comm/b3.h"\n', "c.c:2: model/ includes comm/b3.h"),
    ("data/c.c", GOOD + '#include "tests/t.h"\n', "data/c.c:2: data/ may not include tests/t.h"),
    ("base/a.c", GOOD + '#include "../data/b.h"\n', "base/a.c:2: \"../data/b.h\" is not spelled"),
    ("data/b.h", GOOD + '#include "data/b2.h"\n', "include cycle: data/b.h -> data/b2.h"),
    ("comm/z.c", GOOD + "#include <zstd.h>\n", "comm/z.c:2: <zstd.h> may be included in"),
    ("data/z.c", GOOD + "#include <zlib.h>\n", "data/z.c:2: <zlib.h> has a second home"),
    ("base/long.c", GOOD + "\n" * 700, "base/long.c:701: 701 lines"),
    ("base/f.c", LONG_FUNCTION, "base/f.c:2: f has 92 lines"),
    ("base/p.c", GOOD + "int f(int a, int b, int c, int d, int e, int g, int h, int i, int j) {\n"
     "    return a;\n}\n", "base/p.c:2: f has 9 parameters"),
    ("comm/base.c", GOOD, "has the same name as base/base.c"),
    ("data/s.c", GOOD + "#ifdef DYE_" "CUDA\n#endif\n", "data/s.c:2: asks for the build option"),
    ("trainer/o.c", GOOD + 'void f(void) { printf("x"); }\n', "trainer/o.c:2: printf: only"),
    ("data/o.c", GOOD + 'void f(void) { fputs("x", stderr); }\n', "data/o.c:2: stderr: only"),
    ("comm/o.c", GOOD + "void f(void) { exit(1); }\n", "comm/o.c:2: exit: only"),
    ("launch/t.c", GOOD + "// TO" "DO: later\n", "launch/t.c:2: TO" "DO left behind"),
    ("docs/m.md", "see /ho" "me/somebody/x\n", "docs/m.md:1: names a path of one machine"),
    ("base/n.c", "int x;\n", "base/n.c:1: the first line does not say"),
    ("launch/x.sh", "#!/bin/bash\nls\n", "launch/x.sh:2: the line below"),
    ("tests/base/test_m.c", GOOD + "int x;\n", "test_m.c:1: a test program without main"),
    ("tests/base/test_r.c", GOOD + "static void test_a(void) {\n}\nint main(void) "
     "{ return test_report(); }\n", "test_r.c:2: test_a never runs"),
    ("base/g.c", GOOD + "static void f(void) {\nagain:\n    goto again;\n}\n",
     "base/g.c:4: goto again does not go forward"),
    ("base/big.c", None, "base:1: the core has"),
]


CLEAN = {
    "base/base.c": GOOD + '#include "base/json.h"\n// printf( and exit( in a comment\n',
    "base/json.h": GOOD + "#include <jansson.h>\n",
    "data/b.h": GOOD,
    "data/b2.h": GOOD + '#include "data/b.h"\n',
    "data/idx.c": GOOD + "#include <zlib.h>\n#include <stdio.h>\n",
    "comm/b3.h": GOOD,
    "trainer/r.c": GOOD + '#include "comm/b3.h"\n#include "data/b.h"\n',
    "launch/main.c": GOOD + 'int main(void) { printf("x"); exit(0); }\n',
    "tests/t.h": GOOD,
}


def plant(root, files):
    for name, text in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def self_test():
    failures = 0
    for name, text, expected in [(None, None, None)] + PLANTS:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            plant(root, CLEAN)
            if name == "base/big.c":
                plant(root, {f"base/big{i}.c": GOOD + "int x;\n" * 500 for i in range(30)})
            elif name:
                plant(root, {name: text})
            found = House(root).check()
            if name is None:
                good = found == []
            else:
                needs_ctags = re.search(r" has \d+ (lines|parameters)", expected)
                good = any(expected in line for line in found)
                good = good or (needs_ctags and shutil.which("ctags") is None)
            if not good:
                failures += 1
                print(f"not found: {expected or 'a clean tree'}; the report was {found}")
    print(f"{len(PLANTS) + 1} trees, {failures} failures")
    return failures


def main():
    arguments = sys.argv[1:]
    if arguments == ["--self-test"]:
        return 1 if self_test() else 0
    if len(arguments) > 1 or any(a.startswith("-") for a in arguments):
        print(__doc__)
        return 2
    house = House(arguments[0] if arguments else Path(__file__).resolve().parent.parent)
    violations = house.check()
    for line in violations:
        print(line)
    for line in house.notes:
        print("note: " + line)
    print(f"{len(house.sources)} C files, {len(violations)} violations")
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
