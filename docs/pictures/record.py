"""Record a real run of `b2i demo` in a terminal and draw it as demo.svg beside this file.

    python docs/pictures/record.py

It needs a POSIX system and takes as long as the demo does, about half a minute. What is drawn is what the terminal got, colours
included; the demo then offers to keep the emulated cloud up, and is ended from here.
"""
# ruff: noqa: INP001 - a script beside its picture, no package

import fcntl
import io
import os
import pty
import re
import select
import signal
import struct
import sys
import termios
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

COLUMNS, ROWS = 130, 60
COMMAND = ("b2i", "demo", "--speed", "60")
ENOUGH = b"Ctrl-C ends it."


def recorded() -> str:
    """What the terminal shows, up to the moment at which the demo waits for Ctrl-C."""
    child, terminal = pty.fork()
    if child == 0:
        os.environ |= {
            "TERM": "xterm-256color",
            "COLUMNS": str(COLUMNS),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
        os.execvp(COMMAND[0], COMMAND)  # noqa: S606 - this is the process to be recorded
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    seen = bytearray()
    stopped = False
    while True:
        if not select.select([terminal], [], [], 120)[0]:
            os.kill(child, signal.SIGTERM)
            raise SystemExit("the demo says nothing any more")
        try:
            chunk = os.read(terminal, 65536)
        except OSError:
            break
        if not chunk:
            break
        if not stopped:
            seen += chunk
        if ENOUGH in seen and not stopped:
            stopped = True
            os.kill(child, signal.SIGINT)
    os.waitpid(child, 0)
    return seen.decode()


def main() -> None:
    # The folder of the demo's files is a different one in each run.
    shown = re.sub(r"/\S*?/b2i-demo-\w+", "b2i-demo", recorded().replace("\r\n", "\n"))
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(Text.assemble(("$ ", "bold green"), (" ".join(COMMAND), "bold")))
    console.print(Text.from_ansi(shown))
    # Rich's own frame fetches a font from elsewhere; this picture fetches nothing.
    frame = re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    frame = re.sub(r"<!--.*?-->\s*", "", frame).replace("Fira Code", "DejaVu Sans Mono, Menlo, Consolas")
    picture = console.export_svg(title="b2i demo", code_format=frame, unique_id="b2i-demo")
    Path(__file__).with_name("demo.svg").write_text(picture, encoding="utf-8")


if __name__ == "__main__":
    main()
