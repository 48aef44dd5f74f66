#!/usr/bin/env python3
"""The documentation as a test reads it (CONTRIBUTING.md, Documentation).

    pages.py check DYE [PAGE...]   commands, options, keys, files, exit codes and messages that the pages name
    pages.py shell PAGE [SECTION]  its console blocks as a script for tests/run/page.sh, of one section or of all
    pages.py plain PAGE            the commands in its other blocks, as such a script
    pages.py lacks OUTPUT          the lines on standard input that have no like in the file OUTPUT

A block ```console holds commands behind "$ " and what they print; ```yaml NAME is a file. In a block
without a word each line that begins with a known program is a command.
"""
import re
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PROGRAMS = ("dye ", "mpirun ", "launch/", "tests/", "cmake ", "build/", "apptainer ", "srun ", "bash ",
            "ctest ", "export ", "cp ")
FILES = r"(?:md|yaml|yml|c|h|json|jsonl|py|png|npz|sh|log|tar|sbatch|safetensors|txt|def)"


class Block:
    def __init__(self, info, line, section):
        self.info, self.line, self.section, self.lines = info.split(), line, section, []

    def is_console(self):
        return self.info[:1] == ["console"]

    def commands(self):
        """(line, command, what it prints); a command goes on behind a backslash."""
        found = []
        for number, line in enumerate(self.lines, self.line + 1):
            if found and found[-1][1].endswith("\\"):
                found[-1][1] = found[-1][1][:-1] + line.strip()
            elif self.is_console() and line.startswith("$ "):
                found.append([number, line[2:], []])
            elif self.is_console() and found:
                found[-1][2].append(line)
            elif not self.info and line.strip().startswith(PROGRAMS):
                found.append([number, line.strip(), []])
        return found


def blocks(text):
    found, section, block = [], "", None
    for number, line in enumerate(text.split("\n"), 1):
        if line.startswith("```"):
            if block is None:
                block = Block(line[3:], number, section)
                found.append(block)
            else:
                block = None
        elif block is not None:
            block.lines.append(line)
        elif line.startswith("#"):
            section = line.lstrip("# ")
    return found


def code(text):
    """(line, text) of all that stands as code: blocks, indented lines, spans, which may go over lines."""
    inside, begin, paragraph = False, 1, []
    for number, line in enumerate(text.split("\n") + [""], 1):
        fence, indented = line.startswith("```"), line.startswith("    ")
        if inside or fence or indented or not line:
            whole = "\n".join(paragraph)
            for span in re.finditer(r"`([^`]+)`", whole):
                yield begin + whole.count("\n", 0, span.start()), span[1].replace("\\|", "|").replace("\n", " ")
            begin, paragraph = number + 1, []
            if not fence:
                yield number, re.sub(r"(^|\s)#.*", "", line)
        else:
            paragraph.append(line)
        inside ^= fence


# ---- what is there -----------------------------------------------------------------------------

class Program:
    def __init__(self, dye):
        self.dye = dye
        self.commands = {name: set(re.findall(r"^  (--?[a-z][a-z0-9-]*)", self.say("help", name), re.M)) | {"--help"}
                         for name in re.findall(r"^  ([a-z]+)  ", self.say("help"), re.M)}
        self.keys = set(re.findall(r"^[* ] ([a-z]+\.[a-z_0-9]+) ", self.say("help", "config"), re.M))
        self.sections = {key.split(".")[0] for key in self.keys}
        self.topics = {"config", "man", "bash", "zsh", "markdown", "exit"} | set(self.commands) | self.sections | self.keys
        self.codes = set(re.findall(r"^ *(\d+)  ", self.say("help", "exit"), re.M))

    def say(self, *words):
        return subprocess.run([self.dye, *words], capture_output=True, text=True).stdout

    def reads(self, configuration):
        answer = subprocess.run([self.dye, "diff", configuration, configuration], capture_output=True, text=True)
        return answer.stderr.strip() if answer.returncode else ""


def literals():
    """Texts of the source, those that the compiler joins joined."""
    found = []
    for file in sorted(ROOT.glob("**/*")):
        folder = file.relative_to(ROOT).parts[0]
        if folder not in ("base", "data", "model", "comm", "trainer", "launch"):
            continue
        if file.suffix in (".sh", ".sbatch"):
            found += file.read_text().split("\n")
        if file.suffix != ".c":
            continue
        text = re.sub(r'"\s*(?:PRI[a-zA-Z0-9]+\s*)?"', "", re.sub(r"^\s*//.*", "", file.read_text(), flags=re.M))
        text = re.sub(r'"\s*PRI[a-zA-Z0-9]+', '"', text)
        found += [text.replace('\\"', '"').replace("\\n", "\n") for text in re.findall(r'"((?:[^"\\\n]|\\.)+)"', text)]
    return found


# ---- checks ------------------------------------------------------------------------------------

class Check:
    def __init__(self, dye):
        self.program, self.found, self.counts = Program(dye), [], {}

    def say(self, page, line, what):
        self.found.append(f"{page.relative_to(ROOT)}:{line}: {what}")

    def count(self, what):
        self.counts[what] = self.counts.get(what, 0) + 1

    def page(self, page):
        text = page.read_text()
        for line, words in code(text):
            self.invocations(page, line, words)
            self.keys(page, line, words)
            self.paths(page, line, words)
        for number, line in enumerate(text.split("\n"), 1):
            for target in re.findall(r"\]\(([^)#:]+)\)", line):
                self.count("links")
                if not (page.parent / target).exists():
                    self.say(page, number, f"links to {target}, which is not there")
        for block in blocks(text):
            if block.info[:1] == ["yaml"]:
                self.configuration(page, block)
        if page.name == "README.md" and page.parent == ROOT:
            self.exit_codes(page, text)
        if page.name == "troubleshooting.md":
            self.messages(page, text)
        if page.name == "configuration.md" and text != self.program.say("help", "markdown"):
            self.say(page, 1, "is not what `dye help markdown` prints: dye help markdown > docs/configuration.md")

    def invocations(self, page, line, words):
        for match in re.finditer(r"(?:^|[\s;|&(/]|\./)dye +(-?-?[A-Za-z]+)(?!/)\b([^;&>]*)", words):
            name, rest = match[1], re.split(r"\s\|\s(?!-)|\s:\s", match[2])[0]
            if not name.islower() or name.startswith("--"):
                if name.startswith("--") and name not in ("--version", "--help"):
                    self.say(page, line, f"dye has no option {name}")
                continue
            self.count("commands")
            if name == "help":
                for topic in re.findall(r"(?<![\w./])[a-z][a-z_.0-9]*", rest):
                    if topic not in self.program.topics:
                        self.say(page, line, f"there is no help on {topic}")
            elif name not in self.program.commands:
                self.say(page, line, f"dye has no command {name}")
            else:
                for option in re.findall(r"(?<![\w-])--?[a-z][a-z0-9-]*", rest):
                    self.count("options")
                    if option not in self.program.commands[name]:
                        self.say(page, line, f"dye {name} has no option {option}")

    def keys(self, page, line, words):
        for match in re.finditer(r"(?<![\w./-])([a-z]+)\.([a-z_0-9]+)(?![\w(]|\.[a-z])", words):
            if match[1] not in self.program.sections or re.fullmatch(FILES, match[2]):
                continue
            self.count("keys")
            if match[0] not in self.program.keys and match[0] not in MISTYPED:
                self.say(page, line, f"there is no key {match[0]}")

    def paths(self, page, line, words):
        folders = "configs|launch|tests|docs|base|model|trainer|comm|data"
        for path in re.findall(rf"(?<![\w./-])(?:{folders})/[\w./-]*\.{FILES}\b", words):
            self.count("files")
            if "NAME" not in path and not (ROOT / path).exists() and path not in PLANNED:
                self.say(page, line, f"{path} is not there")

    def configuration(self, page, block):
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            file.write("\n".join(block.lines) + "\n")
            file.flush()
            self.count("configurations")
            wrong = self.program.reads(file.name)
            if wrong:
                self.say(page, block.line, wrong)

    def exit_codes(self, page, text):
        table = text.split("| exit code |", 1)[1].split("\n\n")[0]
        told = {code for cell in re.findall(r"^\| ([\d, ]+) \|", table, re.M) for code in cell.split(", ")}
        for code in sorted(told ^ self.program.codes, key=int):
            self.say(page, 1, f"exit code {code} is in one of its table and `dye help exit` alone")
        self.count("tables of exit codes")

    def messages(self, page, text):
        texts = literals()
        for number, line in enumerate(text.split("\n"), 1):
            first = re.match(r"\| ((?:`[^`]+`(?:, |<br>)?)+) \|", line)
            for message in re.findall(r"`([^`]+)`", first[1]) if first else []:
                self.count("messages")
                pieces = [piece.strip() for piece in message.replace("\\|", "|").split("...") if piece.strip()]
                if not any(follows(pieces, literal) for literal in texts):
                    self.say(page, number, f"the program says nothing like: {message}")


def follows(pieces, text):
    at = 0
    for piece in pieces:
        at = text.find(piece, at)
        if at < 0:
            return False
        at += len(piece)
    return True


MISTYPED = {"optim.lrr"}  # pages show what is told of it
PLANNED = {"model/process/sigmoid.c"}  # docs/own-process.md writes it; tests/model/test_own_process.c builds it


def check(dye, names):
    pages = [ROOT / name for name in names] or [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "configs/README.md",
                                                *sorted((ROOT / "docs").glob("*.md"))]
    checks = Check(dye)
    for page in pages:
        checks.page(page)
    print("\n".join(checks.found + [f"{len(pages)} pages: " + ", ".join(
        f"{count} {what}" for what, count in sorted(checks.counts.items()))]))
    return 1 if checks.found else 0


# ---- as a script -------------------------------------------------------------------------------

def quote(text):
    return "'" + text.replace("'", "'\\''") + "'"


def shell(page, section, plain=False):
    found = 0
    for block in blocks(Path(page).read_text()):
        if not block.section.startswith(section):
            continue
        if block.info[:1] == ["yaml"] and len(block.info) == 2:
            print(f"page_file {block.info[1]} <<'END_OF_FILE'\n" + "\n".join(block.lines) + "\nEND_OF_FILE")
        commands = block.commands() if plain != block.is_console() else []
        for i, (line, command, output) in enumerate(commands):
            found += 1
            may_fail = i + 1 < len(commands) and "$?" in commands[i + 1][1]
            command = re.sub(r"\s{2,}#.*", "", command)
            print(f"page_run {Path(page).name}:{line} {int(may_fail)} {quote(command)} <<'END_OF_OUTPUT'\n"
                  + "".join(text + "\n" for text in output) + "END_OF_OUTPUT")
    return 0 if found else 1


HOST = socket.gethostname().split(".")[0]  # the pages say vm


# Numbers, times and hashes differ from run to run; words do not. "..." stands for what was left out.
def likeness(line):
    line = re.sub(rf"\b(?:{re.escape(HOST)}|vm)\b", "HOST", line)
    line = re.sub(r"\b[0-9a-f]{12,16}\b", "#", line)
    line = re.sub(r"[▁▂▃▄▅▆▇█]+", "#", line)
    line = re.sub(r"[-+]?\d[\d.,:]*(?:e[-+]?\d+)?", "#", line)
    return re.sub(r"\s+", " ", line).strip()


def lacks(output):
    printed = [likeness(line) for line in Path(output).read_text(errors="replace").replace("\r", "\n").split("\n")]
    missing = 0
    for line in sys.stdin.read().split("\n"):
        pieces = [likeness(piece) for piece in line.split("...")]
        if not any(follows(pieces, other) for other in printed):
            print(line)
            missing = 1
    return missing


def main():
    words = sys.argv[1:]
    if words[:1] == ["check"] and len(words) > 1:
        return check(words[1], words[2:])
    if words[:1] == ["shell"] and len(words) in (2, 3):
        return shell(words[1], words[2] if len(words) == 3 else "")
    if words[:1] == ["plain"] and len(words) == 2:
        return shell(words[1], "", plain=True)
    if words[:1] == ["lacks"] and len(words) == 2:
        return lacks(words[1])
    print(__doc__)
    return 2


if __name__ == "__main__":
    sys.exit(main())
